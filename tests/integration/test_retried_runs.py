"""Retries and state hooks in a worker, on each broker."""

import asyncio
import threading
import time
from typing import Any

import pytest
from in_process import StartWorker, events_of, on_each_broker, on_io
from waiting import PATIENCE, eventually

from jtask import StateName, runtime, task
from jtask.client import get_client
from jtask.contract import Event
from jtask.errors import RunCancelled, RunCrashed

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker
FOR_EVER = 3600  # seconds; nothing here waits so long


def states_of(run_id: str, last: str) -> list[Event]:
    """Return a run's events once the last one is there."""

    def arrived() -> list[Event]:
        events = events_of(run_id)
        return events if last in {event.state for event in events} else []

    found: list[Event] = eventually(arrived)
    return found


# --- retries -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "asynchronous"])
def test_a_retried_run_says_what_it_waits_for_and_what_happened(
    kind: str, jtask_worker: StartWorker
) -> None:
    def body() -> int:
        if runtime.attempt < 3:
            raise ValueError(f"attempt {runtime.attempt}")
        return runtime.attempt

    @task(retries=2, retry_delay_seconds=[0.05, 0])
    def plain() -> int:
        return body()

    @task(retries=2, retry_delay_seconds=[0.05, 0])
    async def asynchronous() -> int:
        return body()

    work: Any = {"plain": plain, "asynchronous": asynchronous}[kind]
    jtask_worker(work)
    begun = time.time()
    run = work.delay()
    assert run.result(PATIENCE) == 3
    events = states_of(run.run_id, "Completed")
    retried = ["AwaitingRetry", "Retrying"]
    assert [e.state for e in events] == [
        "Scheduled",
        "Pending",
        "Running",
        *retried,
        *retried,
        "Completed",
    ]
    assert [event.attempt for event in events[2:]] == [1, 1, 2, 2, 3, 3]
    waiting, again, *_ = events[3:]
    assert waiting.until is not None
    assert waiting.until >= begun + 0.05
    assert again.at >= waiting.until
    assert waiting.detail.startswith("ValueError: attempt 1; attempt 2 of 3 at 20")
    history = run.info.history
    assert [past.number for past in history] == [1, 2]
    for past in history:
        assert past.reason.startswith(f"ValueError: attempt {past.number}; ")
        assert past.failure.summary == f"ValueError: attempt {past.number}"
        assert "in body" in past.failure.traceback
        assert past.started <= past.ended


def test_a_run_that_waits_for_its_retry_leaves_the_only_slot_to_others(
    jtask_worker: StartWorker,
) -> None:
    @task(retries=1, retry_delay_seconds=FOR_EVER)
    def fail() -> None:
        raise ValueError("boom")

    @task
    def work(n: int) -> int:
        return n

    jtask_worker(fail, work, concurrency=1, prefetch=0)
    waiting = [fail.delay() for _ in range(3)]
    for run in waiting:
        states_of(run.run_id, "AwaitingRetry")
    assert [run.result(PATIENCE) for run in work.delay_many([(n,) for n in range(20)])] == [
        *range(20)
    ]
    for run in waiting:
        assert not run.wait(0)
        assert on_io(lambda broker, of=run.run_id: broker.runs.cancel(of)), "it waits in the broker"


def test_a_run_without_retries_left_fails_with_its_own_error(jtask_worker: StartWorker) -> None:
    @task(retries=1)
    def work() -> None:
        raise KeyError(runtime.attempt)

    jtask_worker(work)
    run = work.delay()
    error = run.exception(PATIENCE)
    assert isinstance(error, KeyError)
    assert error.args == (2,)
    assert (run.attempt, run.state.name) == (2, StateName.FAILED)


def test_fifty_retries_with_large_arguments_and_tracebacks_fit_into_messages(
    jtask_worker: StartWorker,
) -> None:
    @task(retries=50)
    def work(data: str) -> list[int]:
        if runtime.attempt <= 50:
            raise ValueError("x" * 60_000)
        return [len(data), len(runtime.history)]

    jtask_worker(work)
    small, large = work.delay("a" * 400_000), work.delay("a" * 2_000_000)
    assert small.result(PATIENCE) == [400_000, 50]
    assert large.result(PATIENCE) == [2_000_000, 50]


def test_a_run_that_has_begun_does_not_expire_while_it_waits(jtask_worker: StartWorker) -> None:
    @task(retries=1, retry_delay_seconds=0.4)
    def work() -> int:
        if runtime.attempt == 1:
            raise ValueError("boom")
        return runtime.attempt

    jtask_worker(work)
    run = work.with_options(expires=0.3).delay()
    assert run.result(PATIENCE) == 2


def test_an_asynchronous_condition_is_asked_in_a_worker_for_both_kinds_of_task(
    jtask_worker: StartWorker,
) -> None:
    async def condition(task: Any, run: Any, state: Any) -> bool:
        await asyncio.sleep(0)
        return run.attempt < 2

    @task(retries=5, retry_condition_fn=condition)
    def plain() -> None:
        raise ValueError("boom")

    @task(retries=5, retry_condition_fn=condition)
    async def asynchronous() -> None:
        raise ValueError("boom")

    jtask_worker(plain, asynchronous)
    for run in (plain.delay(), asynchronous.delay()):
        assert isinstance(run.exception(PATIENCE), ValueError)
        assert run.attempt == 2


# --- state hooks ---------------------------------------------------------------------------------


def test_a_worker_calls_the_hooks_of_each_state_in_order(jtask_worker: StartWorker) -> None:
    calls: list[tuple[str, int]] = []
    threads: set[str] = set()

    def hook(task: Any, run: Any, state: Any) -> None:
        calls.append((state.name.value, run.attempt))
        threads.add(threading.current_thread().name)

    async def async_hook(task: Any, run: Any, state: Any) -> None:
        await asyncio.sleep(0)
        hook(task, run, state)

    hooks: Any = {
        f"on_{name}": [hook, async_hook] for name in ("running", "retry", "completion", "failure")
    }

    @task(retries=1, **hooks)
    def plain() -> None:
        threads.add(threading.current_thread().name)
        raise ValueError("boom")

    @task(retries=1, **hooks)
    async def asynchronous() -> None:
        threads.add(threading.current_thread().name)
        raise ValueError("boom")

    jtask_worker(plain, asynchronous, concurrency=1)
    expected = [("Running", 1), ("AwaitingRetry", 1), ("Retrying", 2), ("Failed", 2)]
    for work in (plain, asynchronous):
        calls.clear()
        threads.clear()
        assert isinstance(work.delay().exception(PATIENCE), ValueError)
        assert calls == [call for call in expected for _ in range(2)]
        assert len(threads) == 1


def test_a_crash_of_the_function_calls_on_crashed(jtask_worker: StartWorker) -> None:
    calls: list[Any] = []

    @task(retries=3)
    def work() -> None:
        raise SystemExit(3)

    @work.on_crashed
    def note(task: Any, run: Any, state: Any) -> None:
        calls.append((run.run_id, type(state.result(raise_on_failure=False))))

    jtask_worker(work)
    run = work.delay()
    assert isinstance(run.exception(PATIENCE), RunCrashed)
    assert calls == [(run.run_id, SystemExit)]


def test_even_a_hook_that_wants_to_leave_does_not_change_the_end_of_a_run(
    jtask_worker: StartWorker,
) -> None:
    def leave(task: Any, run: Any, state: Any) -> None:
        raise SystemExit(3)

    @task(on_completion=[leave])
    def plain() -> int:
        return 7

    @task(on_completion=[leave])
    async def asynchronous() -> int:
        return 7

    jtask_worker(plain, asynchronous)
    assert plain.delay().result(PATIENCE) == 7
    assert asynchronous.delay().result(PATIENCE) == 7


def test_a_run_that_is_cancelled_in_a_workers_hands_calls_on_cancellation(
    jtask_worker: StartWorker,
) -> None:
    calls: list[str] = []
    begun = threading.Event()

    @task
    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    @work.on_cancellation
    def note(task: Any, run: Any, state: Any) -> None:
        calls.append(run.run_id)

    worker = jtask_worker(work, concurrency=1, prefetch=1)
    executing, waiting = work.delay(), work.delay()
    assert begun.wait(PATIENCE)
    inner, client = worker.info.worker, get_client()

    async def cancel(run_id: str) -> str:
        return inner.cancel(run_id, "no longer wanted").name

    eventually(lambda: client.io.run(cancel(waiting.run_id)) == "NEVER_STARTS")
    assert isinstance(waiting.exception(PATIENCE), RunCancelled)
    assert client.io.run(cancel(executing.run_id)) == "INTERRUPTED"
    assert isinstance(executing.exception(PATIENCE), RunCancelled)
    assert calls == [waiting.run_id, executing.run_id]
