"""Limits of runs in a worker: slots, states, histories."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from in_process import StartWorker, events_of
from waiting import PATIENCE, eventually

from jtask import StateName, task
from jtask.errors import RunTimedOut, SoftTimeout
from jtask.hooks import hookimpl
from jtask.lifecycle import AttemptEnd, Retry

pytestmark = pytest.mark.usefixtures("jtask_broker")

LIMIT = 0.1

_release = threading.Event()


@pytest.fixture(autouse=True)
def released() -> Any:
    """Let what was left behind end with its test."""
    _release.clear()
    yield
    _release.set()


@task(queue="limited", timeout_seconds=LIMIT)
def spin() -> None:
    while True:
        time.sleep(0.001)


@task(queue="limited", timeout_seconds=LIMIT)
def hang() -> str:
    """Wait in C, where Python cannot raise an exception."""
    _release.wait(60)
    return "too late"


@task(queue="limited", timeout_seconds=LIMIT)
async def wait() -> None:
    await asyncio.sleep(60)


@task(queue="limited", timeout_seconds=LIMIT)
async def ignore_cancellation() -> None:
    while not _release.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.01)


@task(queue="limited", timeout_seconds=LIMIT)
async def swallow_the_limit() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    await asyncio.sleep(60)


@task(queue="limited", timeout_seconds=LIMIT, soft_timeout_seconds=LIMIT / 2)
def overrun_softly() -> None:
    try:
        while True:
            time.sleep(0.001)
    except SoftTimeout:
        raise


@task(queue="limited")
def add(a: int, b: int) -> int:
    return a + b


@pytest.mark.parametrize("overlong", [spin, wait, hang, ignore_cancellation], ids=lambda t: t.name)
def test_an_overlong_run_is_timed_out_and_frees_its_slot(
    jtask_worker: StartWorker, overlong: Any
) -> None:
    jtask_worker(overlong, add, concurrency=1)
    run, following = overlong.delay(), add.delay(1, 2)
    assert following.result(timeout=PATIENCE) == 3
    with pytest.raises(RunTimedOut, match=r"^task run exceeded timeout of 0\.1 seconds$"):
        run.result(timeout=PATIENCE)
    assert run.state.name is StateName.TIMED_OUT
    assert run.state.message == "task run exceeded timeout of 0.1 seconds"


def test_a_worker_outlives_more_hanging_threads_than_it_has_slots(
    jtask_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    jtask_worker(hang, add, concurrency=2)
    hanging = [hang.delay() for _ in range(5)]
    assert [add.delay(i, 1).result(timeout=PATIENCE) for i in range(3)] == [1, 2, 3]
    for run in hanging:
        with pytest.raises(RunTimedOut):
            run.result(timeout=PATIENCE)
    assert caplog.text.count("it is left behind, its slot is free") == 5


def test_what_a_run_that_was_left_behind_does_later_counts_for_nothing(
    jtask_worker: StartWorker,
) -> None:
    jtask_worker(hang, add, concurrency=1)
    run = hang.delay()
    with pytest.raises(RunTimedOut):
        run.result(timeout=PATIENCE)
    _release.set()
    assert [add.delay(i, 1).result(timeout=PATIENCE) for i in range(20)] == list(range(1, 21))
    states = [
        event.state for event in events_of(run.run_id) if not event.detail.startswith("still")
    ]
    assert states == ["Scheduled", "Pending", "Running", "TimedOut"]


@pytest.mark.parametrize("overlong", [spin, wait, hang], ids=lambda t: t.name)
def test_a_timeout_is_a_failure_that_a_plugin_may_have_tried_again(
    jtask_worker: StartWorker, jtask_plugin: Callable[[object], None], overlong: Any
) -> None:
    class Twice:
        @hookimpl
        def jtask_failed(self, run: Any, error: BaseException) -> Retry | None:
            assert isinstance(error, RunTimedOut)
            return Retry(time.time(), "once more") if run.attempt == 1 else None

    jtask_plugin(Twice())
    jtask_worker(overlong, concurrency=1)
    run = overlong.delay()
    with pytest.raises(RunTimedOut):
        run.result(timeout=PATIENCE)
    states = [event.state for event in events_of(run.run_id)]
    assert "AwaitingRetry" in states
    assert states[-1] == "TimedOut"


def test_a_run_that_was_left_behind_is_not_ended_again_by_the_worker_that_closes(
    jtask_worker: StartWorker, jtask_plugin: Callable[[object], None], caplog: Any
) -> None:
    settled, over = list[StateName](), list[AttemptEnd]()

    class Later:
        @hookimpl
        def jtask_failed(self, run: Any, error: BaseException) -> Retry:
            return Retry(time.time() + 3600, "in an hour")

        @hookimpl
        def jtask_attempt_over(self, run: Any, end: AttemptEnd) -> None:
            over.append(end)

        @hookimpl
        def jtask_settled(self, run: Any, outcome: Any) -> None:
            settled.append(outcome.state.name)

    jtask_plugin(Later())
    worker = jtask_worker(swallow_the_limit)
    run = swallow_the_limit.delay()
    eventually(lambda: run.state.name is StateName.AWAITING_RETRY)
    before = [event.state for event in events_of(run.run_id)]
    worker.stop()
    assert [event.state for event in events_of(run.run_id)] == before
    assert (settled, over) == ([], [AttemptEnd.RETRIED])
    assert "could not be executed" not in caplog.text


def test_an_uncaught_soft_timeout_ends_a_run_as_timed_out(jtask_worker: StartWorker) -> None:
    jtask_worker(overrun_softly)
    run = overrun_softly.delay()
    with pytest.raises(SoftTimeout, match=r"^task run exceeded soft timeout of 0\.05 seconds$"):
        run.result(timeout=PATIENCE)
    assert run.state.name is StateName.TIMED_OUT


def test_the_stack_of_an_overlong_run_is_in_its_history(jtask_worker: StartWorker) -> None:
    jtask_worker(hang)
    run = hang.delay()
    with pytest.raises(RunTimedOut):
        run.result(timeout=PATIENCE)
    (told,) = [event.detail for event in events_of(run.run_id) if event.detail.startswith("still")]
    assert "_release.wait(60)" in told


def test_runs_that_end_near_their_limit_spoil_no_other(jtask_worker: StartWorker) -> None:
    @task(queue="limited", timeout_seconds=0.004, soft_timeout_seconds=0.003)
    def brief(i: int) -> int:
        end = time.perf_counter() + 0.002 + 0.003 * (i % 10) / 10
        while time.perf_counter() < end:
            pass
        return i

    jtask_worker(brief, add, concurrency=2)
    runs = [brief.delay(i) for i in range(200)]
    plain = [add.delay(i, 0) for i in range(200)]
    assert [run.result(timeout=PATIENCE) for run in plain] == list(range(200))
    for i, run in enumerate(runs):
        outcome = run.result(timeout=PATIENCE, raise_on_failure=False)
        assert outcome == i or isinstance(outcome, RunTimedOut | SoftTimeout)
