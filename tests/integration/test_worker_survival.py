"""What gets out of a task's hands, and out of jtask's own, takes neither a loop nor a slot away."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from in_process import StartWorker, on_each_broker
from waiting import PATIENCE

from jtask import StateName, task
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
    @task
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
