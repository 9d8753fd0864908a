"""What gets out of a task's hands, and out of jtask's own, takes neither a loop nor a slot away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn
from uuid import uuid4

import pytest
from in_process import StartWorker, on_each_broker, on_io
from waiting import PATIENCE, eventually

from jtask import Run, StateName, task
from jtask.client import get_client
from jtask.contract import Broker
from jtask.execution import loop_thread
from jtask.testing import RunningWorker

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


@pytest.fixture(params=["uvloop", "asyncio"])
def _each_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
        return
    monkeypatch.setattr("jtask.worker.runners.new_loop", asyncio.new_event_loop)
    monkeypatch.setattr(loop_thread, "new_loop", asyncio.new_event_loop)


async def _leave(kind: type[BaseException]) -> None:
    raise kind


async def _by_a_child(kind: type[BaseException]) -> None:
    await asyncio.create_task(_leave(kind))


async def _by_a_group(kind: type[BaseException]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_leave(kind))
        group.create_task(asyncio.sleep(3600))


async def _by_a_callback(kind: type[BaseException]) -> None:
    def leave() -> None:
        raise kind

    asyncio.get_running_loop().call_soon(leave)
    await asyncio.sleep(0.01)


async def _by_a_child_nobody_awaits(kind: type[BaseException]) -> None:
    child = asyncio.create_task(_leave(kind))
    await asyncio.sleep(0.01)
    assert child.done()


@pytest.mark.usefixtures("_each_loop")
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize(
    ("way", "end"),
    [
        (_by_a_child, StateName.CRASHED),
        (_by_a_group, StateName.CRASHED),
        (_by_a_callback, StateName.COMPLETED),
        (_by_a_child_nobody_awaits, StateName.COMPLETED),
    ],
)
def test_what_ends_a_program_does_not_end_the_loop_of_the_tasks(
    way: Callable[[type[BaseException]], Awaitable[None]],
    end: StateName,
    kind: type[BaseException],
    jtask_worker: StartWorker,
) -> None:
    # Of a key of its own: logs keep the exceptions of earlier tests, and with them their tasks.
    @task(key=f"leave-{uuid4()}")
    async def leave() -> None:
        await way(kind)

    @task
    async def beside(n: int) -> int:
        await asyncio.sleep(0.05)
        return n

    worker: RunningWorker = jtask_worker(leave, beside, concurrency=2)
    others = [beside.delay(n) for n in range(4)]
    run = leave.delay()
    assert run.wait(PATIENCE)
    assert run.state.name is end
    assert [other.result(PATIENCE) for other in others] == [0, 1, 2, 3]
    assert beside.delay(5).result(PATIENCE) == 5
    assert worker.problem() is None


# --- what jtask itself fails on -----------------------------------------------------------------


@task(queue="bounded")
def size_of(data: str) -> int:
    return len(data)


def letters() -> list[Any]:
    async def read(broker: Broker) -> list[Any]:
        return [letter async for letter in broker.dead_letters.read()]

    return list(on_io(read))


def fail(*args: object, **kwargs: object) -> NoReturn:
    raise ValueError("no such header")


def assert_set_aside(runs: list[Run[int]]) -> None:
    """Check that each run is where a person sees it, and that none has kept a slot or credit."""
    for run in runs:
        assert run.wait(PATIENCE)
        assert run.state.name is StateName.CRASHED
        assert run.state.message == "jtask could not execute the run: ValueError: no such header"
    eventually(lambda: {letter.run_id for letter in letters()} == {run.run_id for run in runs})


def test_arguments_that_cannot_be_fetched_take_no_slot_away(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_client()
    with monkeypatch.context() as patch:
        patch.setattr(get_client().broker.blobs, "get", fail)
        runs = [size_of.delay("x" * 1_500_000) for _ in range(4)]
        jtask_worker(size_of, concurrency=1, prefetch=0)
        assert_set_aside(runs)
    assert size_of.delay("y" * 1_500_000).result(PATIENCE) == 1_500_000


def test_a_message_that_cannot_be_taken_takes_no_slot_away(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [size_of.delay("x") for _ in range(4)]
    with monkeypatch.context() as patch:
        patch.setattr("jtask.wire.envelope_reader.EnvelopeReader.read", fail)
        jtask_worker(size_of, concurrency=1, prefetch=0)
        assert_set_aside(runs)
    assert size_of.delay("y").result(PATIENCE) == 1


def test_a_run_that_cannot_be_given_to_a_thread_takes_no_slot_away(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [size_of.delay("x") for _ in range(4)]
    with monkeypatch.context() as patch:
        patch.setattr("jtask.worker.runners.ThreadRunner.submit", fail)
        jtask_worker(size_of, concurrency=1, prefetch=0)
        assert_set_aside(runs)
    assert size_of.delay("y").result(PATIENCE) == 1


def test_an_end_that_cannot_be_stored_takes_no_slot_away(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [size_of.delay("x") for _ in range(4)]
    results = get_client().broker.results
    for name in {"put", "put_from_thread", "put_many"} & set(dir(results)):
        monkeypatch.setattr(results, name, fail)
    jtask_worker(size_of, concurrency=1, prefetch=0)
    # There is no outcome that would tell it, so the letters do.
    eventually(lambda: {letter.run_id for letter in letters()} == {run.run_id for run in runs})
    monkeypatch.undo()
    assert size_of.delay("y").wait(PATIENCE)
