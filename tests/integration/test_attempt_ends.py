"""Whoever admits an attempt hears once how it was over, on both brokers."""

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from in_process import StartWorker, lose_workers, on_each_broker
from waiting import PATIENCE, eventually

from jtask import Task, task
from jtask.errors import RunRefused
from jtask.hooks import hookimpl
from jtask.lifecycle import AttemptEnd, Retry
from jtask.runtime import RunContext

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker
AddPlugin = Callable[[object], None]


class Gate:
    """Admits, or answers otherwise; notes what it was asked and told."""

    def __init__(self, *answers: Retry | Exception | None) -> None:
        self.heard: list[str] = []
        self._answers: Iterator[Retry | Exception | None] = iter(answers)

    @hookimpl
    async def jtask_admit(self, run: RunContext) -> Retry | None:
        self.heard.append(f"asked {run.attempt}")
        answer = next(self._answers, None)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @hookimpl
    def jtask_attempt_over(self, run: RunContext, end: AttemptEnd) -> Awaitable[None]:
        async def note() -> None:
            self.heard.append(f"{end.value} {run.attempt}")

        return note()


class Watcher:
    """Is told of all attempts, and admits none."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def jtask_attempt_over(self, run: RunContext, end: AttemptEnd) -> None:
        self.heard.append(f"{end.value} {run.attempt}")


def plain() -> int:
    return 1


async def asynchronous() -> int:
    return 1


@pytest.fixture(params=[plain, asynchronous])
def work(request: pytest.FixtureRequest) -> Task[[], Any]:
    return task(request.param)


def test_who_is_asked_first_withdraws_when_another_does_not_admit(
    work: Task[[], Any], jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    last, refuses, first = Gate(), Gate(Retry(0.0, "not yet")), Gate()
    watcher = Watcher()
    # The plugin that is registered last is asked first.
    for plugin in (last, refuses, first, watcher):
        jtask_plugin(plugin)
    jtask_worker(work)
    assert work.delay().result(PATIENCE) == 1
    assert first.heard == ["asked 1", "withdrawn 1", "asked 1", "settled 1"]
    assert refuses.heard == ["asked 1", "asked 1", "settled 1"]
    assert last.heard == ["asked 1", "settled 1"]
    assert watcher.heard == ["settled 1"]


@pytest.mark.parametrize("answer", [RunRefused("never"), ValueError("broken")])
def test_a_refusal_withdraws_and_a_failure_admits(
    answer: Exception, work: Task[[], Any], jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    fails, first = Gate(answer), Gate()
    jtask_plugin(fails)
    jtask_plugin(first)
    jtask_worker(work)
    run = work.delay()
    assert run.wait(PATIENCE)
    if isinstance(answer, RunRefused):
        assert (run.state.name, first.heard) == ("Cancelled", ["asked 1", "withdrawn 1"])
        assert fails.heard == ["asked 1"]
    else:
        assert (run.state.name, first.heard) == ("Completed", ["asked 1", "settled 1"])
        assert fails.heard == ["asked 1", "settled 1"]


def test_each_attempt_of_a_retried_run_is_over_once(
    jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    gate = Gate()
    jtask_plugin(gate)

    @task(retries=1)
    def fail() -> None:
        raise ValueError("no")

    jtask_worker(fail)
    assert fail.delay().wait(PATIENCE)
    assert gate.heard == ["asked 1", "retried 1", "asked 2", "settled 2"]


@pytest.mark.parametrize("is_slow", [False, True], ids=["ends", "executes on"])
def test_an_attempt_that_its_worker_hands_back_is_over_once(
    is_slow: bool, jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    gate = Gate()
    jtask_plugin(gate)
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    @task
    def wait() -> None:
        begun.set()
        try:
            eventually(go_on.is_set) if is_slow else time.sleep(0)
        finally:
            ended.set()

    @task
    async def wait_on_loop() -> None:
        import asyncio

        begun.set()
        await asyncio.Event().wait()

    worker = jtask_worker(wait, wait_on_loop)
    _ = (wait if is_slow else wait_on_loop).delay()
    assert begun.wait(PATIENCE)
    worker.stop(timeout=0)
    assert gate.heard == ["asked 1", "handed back 1"]
    go_on.set()
    if is_slow:
        assert ended.wait(PATIENCE)


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JTASK_LEASE", "1")


@pytest.mark.usefixtures("short_lease", "jtask_broker")
def test_who_gets_the_run_of_a_lost_worker_says_so_before_it_asks(
    work: Task[[], Any], jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    gate = Gate()
    jtask_plugin(gate)
    run = work.delay()
    lose_workers(work.queue, 1)
    jtask_worker(work)
    assert run.result(PATIENCE) == 1
    assert gate.heard == ["lost 1", "asked 1", "settled 1"]


def test_a_direct_call_is_an_attempt_too(work: Task[[], Any], jtask_plugin: AddPlugin) -> None:
    import asyncio

    gate = Gate()
    jtask_plugin(gate)
    called: Any = work()
    assert (asyncio.run(called) if work.is_async else called) == 1
    assert gate.heard == ["asked 1", "settled 1"]
