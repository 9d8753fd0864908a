"""What plugins keep for a worker's life: entered before its first run, left after its last."""

import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from in_process import StartWorker, on_io
from programs import environment, output_of
from waiting import PATIENCE, eventually

from jtask import runtime, task
from jtask.client import current_client, get_client
from jtask.errors import BrokerError, JTaskError, WorkerUnhealthy
from jtask.execution.hooks_loop import get_hooks_loop
from jtask.hooks import hookimpl
from jtask.runtime import RunContext, WorkerInfo
from jtask.task_worker import aserve
from jtask.testing import start_worker

pytestmark = pytest.mark.usefixtures("jtask_memory")

AddPlugin = Callable[[object], None]


@task
def add(a: int, b: int = 1) -> int:
    return a + b


@task
async def slow_add(a: int, b: int = 1) -> int:
    return a + b


class Client:
    """Stands for a connection pool: it belongs to the loop on which it was opened."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.sent: list[str] = []
        self.is_open = True

    async def send(self, text: str) -> None:
        assert self.is_open
        assert asyncio.get_running_loop() is self.loop
        await asyncio.sleep(0)
        self.sent.append(text)

    async def close(self) -> None:
        assert asyncio.get_running_loop() is self.loop
        await asyncio.sleep(0)
        self.is_open = False


class Reports:
    """A plugin that keeps a client for a worker's whole life."""

    client: Client

    @hookimpl
    @contextlib.asynccontextmanager
    async def jtask_worker(self, worker: WorkerInfo) -> AsyncIterator[None]:
        self.client = Client()
        yield
        await self.client.close()

    @hookimpl
    async def jtask_settled(self, run: RunContext) -> None:
        await self.client.send(run.run_id)


def test_a_client_is_opened_used_by_every_kind_of_task_and_closed_on_one_loop(
    jtask_plugin: AddPlugin, jtask_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    reports = Reports()
    jtask_plugin(reports)
    # Enqueued before: the client is there when the first run settles.
    runs = [work.delay(number) for number in range(20) for work in (add, slow_add)]
    worker = jtask_worker(add, slow_add)
    for run in runs:
        run.result(PATIENCE)
    eventually(lambda: len(reports.client.sent) == len(runs))
    assert set(reports.client.sent) == {run.run_id for run in runs}
    assert reports.client.is_open
    assert reports.client.loop is get_hooks_loop().loop
    worker.stop()
    assert not reports.client.is_open
    assert "failed in" not in caplog.text


class Prices:
    """A plugin that keeps a client for the tasks themselves, on their loop."""

    client: Client
    worker: WorkerInfo

    @hookimpl
    @contextlib.asynccontextmanager
    async def jtask_worker(self, worker: WorkerInfo) -> AsyncIterator[None]:
        self.worker = worker
        self.client = await worker.worker.on_task_loop(self._open())
        yield
        await worker.worker.on_task_loop(self.client.close())

    async def _open(self) -> Client:
        return Client()


def test_what_is_opened_on_the_loop_of_tasks_is_there_for_them_and_closed_there_after_them(
    jtask_plugin: AddPlugin, jtask_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    prices = Prices()
    jtask_plugin(prices)
    begun, go_on = threading.Event(), threading.Event()

    @task
    async def ask(question: str) -> None:
        begun.set()
        while not go_on.is_set():
            await asyncio.sleep(0.001)
        await prices.client.send(question)

    run = ask.delay("tea")
    worker = jtask_worker(ask)
    assert begun.wait(PATIENCE)
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    eventually(lambda: prices.worker.worker.is_stopping)
    go_on.set()
    stopping.join(PATIENCE)
    run.result(PATIENCE)
    assert prices.client.sent == ["tea"]
    assert prices.client.loop is not get_hooks_loop().loop
    assert not prices.client.is_open
    assert "failed in" not in caplog.text


def test_what_a_run_has_left_on_the_loop_of_tasks_does_not_keep_a_plugin_from_closing(
    jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    prices = Prices()
    jtask_plugin(prices)
    begun = threading.Event()

    @task
    async def stubborn() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                begun.set()
                await asyncio.sleep(PATIENCE)

    stubborn.delay()
    worker = jtask_worker(stubborn)
    assert begun.wait(PATIENCE)
    assert worker.stop(timeout=0) == 1
    assert not prices.client.is_open


def test_the_loop_of_tasks_says_that_it_has_ended(
    jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    prices = Prices()
    jtask_plugin(prices)
    jtask_worker(add).stop()
    with pytest.raises(JTaskError, match="the event loop of the tasks has ended"):
        asyncio.run(prices.worker.worker.on_task_loop(asyncio.sleep(0)))


class Life:
    """Notes what it sees of a worker's life."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.worker: WorkerInfo | None = None
        self.problem: str | None = ""
        self.entered = threading.Event()
        self.left = threading.Event()

    @hookimpl
    @contextlib.asynccontextmanager
    async def jtask_worker(self, worker: WorkerInfo) -> AsyncIterator[None]:
        self.worker = worker
        self.problem = await worker.worker.on_io(self._problem(worker))
        self.entered.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(worker))
            yield
        assert current_client() is not None
        executing = len(worker.worker.executing())
        self.seen.append(f"left with {executing} executing")
        self.left.set()

    async def _follow(self, worker: WorkerInfo) -> None:
        assert not worker.worker.is_stopping
        self.seen.append("started" if await worker.worker.started() else "never started")
        await worker.worker.stopping()
        assert worker.worker.is_stopping
        self.seen.append("stopping")

    async def _problem(self, worker: WorkerInfo) -> str | None:
        assert threading.current_thread().name == "jtask-io"
        return worker.worker.problem()


def test_a_worker_is_followed_until_its_runs_are_over(jtask_plugin: AddPlugin) -> None:
    life = Life()
    jtask_plugin(life)
    begun, go_on = threading.Event(), threading.Event()

    @task
    def patient() -> None:
        begun.set()
        assert go_on.wait(PATIENCE)

    worker = start_worker(patient, concurrency=3)
    assert life.worker is worker.info
    assert life.problem == "the worker has not started yet"
    assert worker.problem() is None
    eventually(lambda: life.seen == ["started"])
    run = patient.delay()
    assert begun.wait(PATIENCE)
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    eventually(lambda: life.seen == ["started", "stopping"])
    assert stopping.is_alive()
    assert not life.left.is_set()
    go_on.set()
    stopping.join(PATIENCE)
    assert life.seen == ["started", "stopping", "left with 0 executing"]
    run.result(PATIENCE)


def test_each_worker_of_a_process_has_its_own(
    jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    workers: list[str] = []

    class Each:
        @hookimpl
        @contextlib.asynccontextmanager
        async def jtask_worker(self, worker: WorkerInfo) -> AsyncIterator[None]:
            name = worker.tasks[0].name
            workers.append(f"{name} begins")
            yield
            workers.append(f"{name} ends")

    jtask_plugin(Each())
    first, second = jtask_worker(add), jtask_worker(slow_add)
    first.stop()
    second.stop()
    assert workers == ["add begins", "slow_add begins", "add ends", "slow_add ends"]


def test_what_aserve_keeps_is_left_before_the_process_disconnects(
    jtask_plugin: AddPlugin,
) -> None:
    async def until_a_run_has_ended() -> None:
        assert await (await add.adelay(1)) == 2

    _assert_all_is_left_by_aserve(jtask_plugin, until_a_run_has_ended)


def test_an_aserve_that_is_cancelled_while_it_starts_leaves_no_worker_behind(
    jtask_plugin: AddPlugin,
) -> None:
    async def until_it_begins_to_start() -> None:
        await asyncio.sleep(0)

    _assert_all_is_left_by_aserve(jtask_plugin, until_it_begins_to_start)


def _assert_all_is_left_by_aserve(
    jtask_plugin: AddPlugin, moment: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    life = Life()
    jtask_plugin(life)

    async def main() -> None:
        serving = asyncio.ensure_future(aserve(add))
        await moment()
        serving.cancel()
        await asyncio.wait([serving])
        assert serving.cancelled()

    asyncio.run(main())
    assert life.seen == ["started", "stopping", "left with 0 executing"]
    assert current_client() is None


def test_a_worker_that_cannot_start_leaves_what_it_has_entered(
    jtask_plugin: AddPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Life()
    jtask_plugin(life)

    async def refuse(*_: Any) -> Any:
        raise BrokerError("no such thing here")

    monkeypatch.setattr(get_client().broker.runs, "consume", refuse)
    with pytest.raises(BrokerError, match="no such thing"):
        start_worker(add)
    assert life.seen == ["never started", "stopping", "left with 0 executing"]


def test_without_a_plugin_that_wants_it_no_loop_is_started() -> None:
    code = """
import threading
from jtask import task
from jtask.testing import run_worker

@task
def add(a: int) -> int:
    return a + 1

with run_worker(add):
    assert add.delay(1).result(20) == 2
    print("jtask-hooks" in [thread.name for thread in threading.enumerate()])
"""
    env = environment(JTASK_PLUGINS="", JTASK_URL="memory://none")
    assert output_of(sys.executable, "-c", code, env=env) == "False\n"


# --- failures ------------------------------------------------------------------------------------


class Fails:
    """Fails in one part of a worker's life."""

    def __init__(self, where: str, error: BaseException) -> None:
        self._where = where
        self._error = error

    @hookimpl
    def jtask_worker(self) -> Any:
        if self._where == "call":
            raise self._error
        return self._context()

    @contextlib.asynccontextmanager
    async def _context(self) -> AsyncIterator[None]:
        if self._where == "enter":
            raise self._error
        if self._where == "between":
            async with asyncio.TaskGroup() as group:
                group.create_task(self._raise())
                yield
        else:
            yield
        if self._where == "leave":
            raise self._error

    async def _raise(self) -> None:
        raise self._error


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("where", ["call", "enter", "between", "leave"])
def test_a_plugin_that_fails_is_logged_and_the_worker_and_the_others_go_on(
    where: str,
    order: str,
    jtask_plugin: AddPlugin,
    jtask_worker: StartWorker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lives = [Life(), Life()]
    fails = Fails(where, ValueError("broken"))
    for plugin in [fails, *lives] if order == "before" else [*lives, fails]:
        jtask_plugin(plugin)
    with caplog.at_level(logging.ERROR, "jtask"):
        worker = jtask_worker(add)
        assert add.delay(1).result(PATIENCE) == 2
        worker.stop()
    for life in lives:
        assert life.seen == ["started", "stopping", "left with 0 executing"]
    [record] = [r for r in caplog.records if "failed in jtask_worker" in r.getMessage()]
    begins = f"plugin 'Fails' failed in jtask_worker for worker {worker.info.name}: "
    assert record.getMessage().startswith(begins)
    assert "ValueError: broken" in caplog.text
    assert record.exc_info


@pytest.mark.parametrize("where", ["call", "enter", "leave"])
def test_what_is_no_exception_does_not_end_the_loop(
    where: str,
    jtask_plugin: AddPlugin,
    jtask_worker: StartWorker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    jtask_plugin(Fails(where, SystemExit(3)))
    jtask_worker(add).stop()
    assert "failed in jtask_worker" in caplog.text
    jtask_worker(add)
    assert add.delay(1).result(PATIENCE) == 2


def test_what_is_no_context_manager_is_refused_by_name(
    jtask_plugin: AddPlugin, jtask_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong:
        @hookimpl
        def jtask_worker(self) -> Any:
            return "pool"

    jtask_plugin(Wrong())
    jtask_worker(add)
    assert "plugin 'Wrong' failed in jtask_worker" in caplog.text
    assert add.delay(1).result(PATIENCE) == 2


class Hangs:
    def __init__(self, where: str) -> None:
        self._where = where
        self.cancelled = threading.Event()

    @hookimpl
    @contextlib.asynccontextmanager
    async def jtask_worker(self) -> AsyncIterator[None]:
        await self._hang("enter")
        yield
        await self._hang("leave")

    async def _hang(self, where: str) -> None:
        if where == self._where:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()


@pytest.mark.parametrize(
    ("where", "says"), [("enter", "has not begun"), ("leave", "has not ended")]
)
def test_a_plugin_that_hangs_is_named_and_not_waited_for_any_longer(
    where: str,
    says: str,
    jtask_plugin: AddPlugin,
    jtask_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("jtask.worker.plugin_contexts._ENTER_SECONDS", 0.05)
    monkeypatch.setattr("jtask.worker.plugin_contexts._LEAVE_SECONDS", 0.05)
    plugin = Hangs(where)
    jtask_plugin(plugin)
    worker = jtask_worker(add)
    assert add.delay(1).result(PATIENCE) == 2
    worker.stop()
    assert plugin.cancelled.wait(PATIENCE)
    assert f"plugin 'Hangs' {says} with worker {worker.info.name} after 0.05 seconds" in (
        caplog.text
    )


# --- what a plugin may ask of the worker ----------------------------------------------------------


def test_a_wait_that_is_cancelled_takes_nothing_away_from_others(
    jtask_worker: StartWorker,
) -> None:
    worker = jtask_worker(add)
    handle = worker.info.worker

    async def main() -> None:
        waits = [asyncio.ensure_future(handle.stopping()) for _ in range(2)]
        await asyncio.sleep(0)
        waits[0].cancel()
        await asyncio.wait(waits[:1])
        assert not handle.is_stopping
        await asyncio.to_thread(worker.stop)
        await asyncio.wait_for(waits[1], PATIENCE)
        await handle.stopping()

    asyncio.run(main())


def test_any_loop_can_await_what_runs_on_the_io_loop(jtask_worker: StartWorker) -> None:
    handle = jtask_worker(add).info.worker

    async def depth() -> tuple[int, str]:
        return await handle.broker.queues.depth("other"), threading.current_thread().name

    assert asyncio.run(handle.on_io(depth())) == (0, "jtask-io")
    assert get_hooks_loop().run(handle.on_io(depth())) == (0, "jtask-io")
    assert on_io(lambda _: handle.on_io(depth())) == (0, "jtask-io")


def test_a_stopping_worker_notifies_nobody_of_a_run_that_it_does_not_hold(
    jtask_worker: StartWorker,
) -> None:
    worker = jtask_worker(add)
    worker.stop()

    async def notify(_: Any) -> None:
        with pytest.raises(asyncio.CancelledError):
            await worker.info.worker.notify_cancelled("id", None, "", None)  # type: ignore[arg-type]

    on_io(notify)
    assert runtime.current_run() is None


def test_a_worker_that_was_given_up_while_it_started_is_given_up_once_somebody_listens(
    jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    class Quits:
        @hookimpl
        def jtask_worker(self, worker: WorkerInfo) -> None:
            worker.worker.give_up("no room here")

    jtask_plugin(Quits())
    with pytest.raises(WorkerUnhealthy, match="no room here"):
        asyncio.run(asyncio.wait_for(aserve(add), PATIENCE))
