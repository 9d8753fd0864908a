"""What gets out of a task's hands, and out of jtask's own, takes neither a loop nor a slot away."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NoReturn
from uuid import uuid4

import pytest
from in_process import StartWorker, on_each_broker, on_io
from waiting import PATIENCE, eventually

from jtask import Run, StateName, get_run, runtime, task
from jtask.client import get_client
from jtask.contract import Broker, Message
from jtask.execution import loop_thread
from jtask.execution.job import Job
from jtask.hooks import hookimpl
from jtask.plugins import get_plugins
from jtask.stored_ends import StoredEnd
from jtask.testing import RunningWorker
from jtask.worker.log_guard import guard_own_lines
from jtask.worker.runners import ThreadRunner

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


@task
def return_itself(x: int) -> int:
    return x


@task(timeout_seconds=0.1)
def too_slow() -> None:
    while True:
        time.sleep(0.01)


@task(retries=1)
def fail_at_first() -> int:
    if runtime.attempt == 1:
        raise ValueError("at first")
    return runtime.attempt


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


def leave_by_exit(*_: object) -> NoReturn:
    raise SystemExit(3)


def be_interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def be_cancelled(*_: object) -> NoReturn:
    raise asyncio.CancelledError


@pytest.mark.parametrize("key_of", [leave_by_exit, be_interrupted, be_cancelled])
@pytest.mark.parametrize("option", ["cache_key_fn", "limit_key"])
def test_a_function_of_an_option_that_leaves_ends_its_run_and_no_other(
    jtask_worker: StartWorker, option: str, key_of: Callable[..., NoReturn]
) -> None:
    options: dict[str, Any] = {option: key_of}
    if option == "limit_key":
        options["limit"] = 1
    keyed = task(name="keyed", **options)(return_itself.fn)
    jtask_worker(keyed, return_itself, concurrency=1)
    run = keyed.delay(1)
    assert run.wait(PATIENCE)
    assert run.state.name in (StateName.CRASHED, StateName.CANCELLED)
    assert return_itself.delay(2).result(PATIENCE) == 2


class Leaves:
    """Lets out what it is given when it hears of the end of one run."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind
        self.run_id = ""

    @hookimpl
    def jtask_stored(self, end: StoredEnd) -> None:
        if end.run_id == self.run_id:
            raise self.kind


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_plugin_that_fails_to_hear_of_an_end_keeps_no_run_on_its_queue(
    jtask_worker: StartWorker, kind: type[BaseException]
) -> None:
    begun = 0

    @task(queue="together", key=f"end-together-{uuid4()}")
    async def end_together() -> None:
        nonlocal begun
        begun += 1
        while begun < 20:
            await asyncio.sleep(0.01)

    plugin = Leaves(kind)
    get_plugins().add(plugin)
    try:
        jtask_worker(end_together, concurrency=20)
        runs = [end_together.delay() for _ in range(19)]
        plugin.run_id = runs[10].run_id
        runs.append(end_together.delay())
        for run in runs:
            assert run.wait(PATIENCE)
        eventually(lambda: on_io(lambda broker: broker.queues.depth("together")) == 0)
    finally:
        get_plugins().remove(plugin)


class Answers:
    """Answers where nothing is to be awaited."""

    @hookimpl
    def jtask_stored(self, end: StoredEnd) -> str:
        return end.run_id


def test_a_plugin_that_answers_to_an_end_keeps_no_run_on_its_queue(
    jtask_worker: StartWorker,
) -> None:
    plugin = Answers()
    get_plugins().add(plugin)
    try:
        jtask_worker(size_of)
        assert size_of.delay("x").result(PATIENCE) == 1
        eventually(lambda: on_io(lambda broker: broker.queues.depth("bounded")) == 0)
    finally:
        get_plugins().remove(plugin)


class LeavesAsItHearsOfRejection:
    """Lets out what it is given when it hears of any run that cannot be executed."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    @hookimpl
    def jtask_rejected(self) -> None:
        raise self.kind


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_a_plugin_that_fails_to_hear_of_rejections_keeps_no_run_on_its_queue(
    jtask_worker: StartWorker, kind: type[BaseException]
) -> None:
    plugin = LeavesAsItHearsOfRejection(kind)
    get_plugins().add(plugin)
    try:
        jtask_worker(return_itself)
        unreadable = Message(get_client().ids.new(), return_itself.queue, b"hello")
        on_io(lambda broker: broker.runs.enqueue([unreadable]))
        assert get_run(unreadable.run_id).wait(PATIENCE)
        eventually(lambda: on_io(lambda broker: broker.queues.depth(return_itself.queue)) == 0)
    finally:
        get_plugins().remove(plugin)


class BrokenHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError(f"this handler takes no {record.levelname}")


def _raise(*_: Any, **__: Any) -> Any:
    raise LookupError("no request is going on")


@contextlib.contextmanager
def _broken_handler() -> Iterator[None]:
    handler = BrokenHandler()
    logging.getLogger("jtask").addHandler(handler)
    yield
    logging.getLogger("jtask").removeHandler(handler)


@contextlib.contextmanager
def _broken_filter() -> Iterator[None]:
    logging.getLogger("jtask.worker").addFilter(_raise)
    logging.getLogger("jtask").addFilter(_raise)
    yield
    logging.getLogger("jtask").removeFilter(_raise)
    logging.getLogger("jtask.worker").removeFilter(_raise)


@contextlib.contextmanager
def _broken_records() -> Iterator[None]:
    make = logging.getLogRecordFactory()

    def make_others(name: str, *rest: Any, **more: Any) -> logging.LogRecord:
        return _raise() if name.startswith("jtask") else make(name, *rest, **more)

    logging.setLogRecordFactory(make_others)
    yield
    logging.setLogRecordFactory(make)


@pytest.fixture(params=[_broken_handler, _broken_filter, _broken_records])
def _broken_log(request: pytest.FixtureRequest) -> Iterator[None]:
    with request.param():
        yield


@pytest.mark.usefixtures("_broken_log")
def test_logging_that_raises_takes_no_run_no_limit_and_no_stop_away(
    jtask_worker: StartWorker,
) -> None:
    worker = jtask_worker(return_itself, too_slow, fail_at_first, concurrency=2)
    assert return_itself.delay(1).result(PATIENCE) == 1
    assert fail_at_first.delay().result(PATIENCE) == 2
    for _ in range(2):
        run = too_slow.delay()
        assert run.wait(PATIENCE)
        assert run.state.name == StateName.TIMED_OUT
    worker.stop()


@pytest.mark.usefixtures("jtask_worker")
def test_what_the_handlers_of_others_raise_is_theirs() -> None:
    guard_own_lines()
    log = logging.getLogger("shop")
    handler = BrokenHandler()
    log.addHandler(handler)
    try:
        with pytest.raises(RuntimeError, match="takes no WARNING"):
            log.warning("hello")
    finally:
        log.removeHandler(handler)


def test_many_runs_that_cannot_begin_are_set_aside_one_after_the_other(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses = False
    submit = ThreadRunner.submit

    def refuse(runner: ThreadRunner, job: Job) -> None:
        if refuses:
            fail()
        submit(runner, job)

    monkeypatch.setattr(ThreadRunner, "submit", refuse)
    gate = threading.Event()

    @task(queue="bounded")
    def hold() -> None:
        assert gate.wait(PATIENCE)

    # Enough of them to be within each other beyond what Python allows.
    worker: RunningWorker = jtask_worker(hold, size_of, concurrency=1, prefetch=400)
    held = hold.delay()
    eventually(lambda: held.state.name is StateName.RUNNING)
    runs = size_of.delay_many([(str(n),) for n in range(300)])
    eventually(lambda: len(worker.info.worker.held()) == 301)
    refuses = True
    gate.set()
    assert_set_aside(runs)
