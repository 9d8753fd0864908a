"""Where a run stands, told from where the truth is, on both brokers."""

import asyncio
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from in_process import StartWorker, events_of, on_each_broker, on_io
from waiting import PATIENCE, eventually

from jtask import Run, StateName, get_run, runtime, task
from jtask.client import get_client
from jtask.client.event_buffer import EventBuffer
from jtask.contract import Broker, Event, OutcomeRecord
from jtask.errors import (
    ResultExpired,
    ResultTimeout,
    RunCancelled,
    RunCrashed,
    RunNotFound,
    RunUnfinished,
)
from jtask.futures import FutureList, completion, future, silence
from jtask.ids import RunIds
from jtask.settings import get_settings

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


class Gate:
    """A task's body stops here until the test lets it go on."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Semaphore(0), threading.Event()

    def pass_through(self) -> None:
        self.reached.release()
        assert self.opened.wait(PATIENCE)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """No event of this process ever reaches the log."""
    monkeypatch.setattr(EventBuffer, "flush", lambda self: None)


def delete_outcome(run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the outcome of a run be gone, as if its time to live were over."""
    results = get_client().broker.results
    get = results.get

    async def find(asked: str) -> OutcomeRecord | None:
        return None if asked == run_id else await get(asked)

    monkeypatch.setattr(results, "get", find)
    # Else who waits finds it by itself, without `get`.
    monkeypatch.setattr(get_client()._waits._short, "_from_thread", None)


def wait_until_off_its_queue(run_id: str) -> None:
    async def is_off(broker: Broker) -> bool:
        return await broker.queues.locate(run_id) is None

    eventually(lambda: on_io(is_off))


@pytest.mark.usefixtures("no_events")
def test_the_state_does_not_depend_on_the_event_log(jtask_worker: StartWorker, gate: Gate) -> None:
    @task
    def work() -> int:
        gate.pass_through()
        return 7

    runs = [work.delay() for _ in range(3)]
    assert [run.state.name for run in runs] == [StateName.SCHEDULED] * 3
    jtask_worker(work, concurrency=2, prefetch=1)
    for _ in range(2):
        assert gate.reached.acquire(timeout=PATIENCE)
    assert [run.state.name for run in runs[:2]] == [StateName.RUNNING] * 2
    eventually(lambda: runs[2].state.name is StateName.PENDING)
    gate.opened.set()
    assert [run.result(PATIENCE) for run in runs] == [7] * 3
    assert [run.state.name for run in runs] == [StateName.COMPLETED] * 3


def test_a_delayed_run_tells_its_queue_and_when_it_is_due() -> None:
    @task(queue="slow")
    def work() -> None: ...

    state = work.with_options(delay=3600).delay().state
    assert (state.name, state.details["queue"]) == (StateName.SCHEDULED, "slow")
    until = state.details["until"]
    assert isinstance(until, float)
    assert 3500 < until - time.time() < 3601


def test_a_run_that_waits_for_its_retry_tells_when_and_why(jtask_worker: StartWorker) -> None:
    @task(retries=1, retry_delay_seconds=3600)
    def fail() -> None:
        raise ValueError("not yet")

    jtask_worker(fail)
    run = fail.delay()
    # Before, it is in the hands of the worker, which may be slow to answer.
    state = eventually(lambda: s if {"queue", "until"} <= (s := run.state).details.keys() else None)
    assert (state.name, state.details["queue"]) == (StateName.AWAITING_RETRY, fail.queue)
    assert "not yet" in state.message
    assert state.details["until"] - time.time() > 3000  # type: ignore[operator]


def test_every_process_is_told_the_same(jtask_worker: StartWorker, gate: Gate) -> None:
    @task(retries=1, retry_delay_seconds=0)
    def fail_once() -> int:
        if runtime.attempt == 1:
            raise ValueError
        gate.pass_through()
        return 1

    jtask_worker(fail_once)
    run = fail_once.delay()
    assert gate.reached.acquire(timeout=PATIENCE)
    other: Run[Any] = Run(run.run_id, get_client())
    assert run.state.name is other.state.name is StateName.RETRYING
    assert asyncio.run(other.state_async()).name is StateName.RETRYING
    gate.opened.set()
    assert run.result(PATIENCE) == 1


@pytest.mark.parametrize("events", [0, 20_000])
def test_the_state_costs_the_same_after_any_number_of_events(events: int) -> None:
    @task
    def work() -> None: ...

    run = work.delay()
    other = RunIds()

    async def append(broker: Broker) -> None:
        for _ in range(events // 500):
            broker.events.append([Event(other.new(), "Running", time.time(), "x")] * 500)

    on_io(append)
    began = time.perf_counter()
    for _ in range(5):
        assert run.state.name is StateName.SCHEDULED
    assert time.perf_counter() - began < 2.5


@pytest.mark.usefixtures("jtask_worker")
def test_a_run_that_never_was_is_not_found_at_once() -> None:
    made_up = RunIds().new()
    own = get_client().ids.new()
    for run_id in (made_up, own):
        for ask in (
            lambda run: run.state,
            lambda run: run.result(),
            lambda run: run.result(PATIENCE),
            lambda run: run.wait(),
            lambda run: run.exception(),
            lambda run: asyncio.run(run.state_async()),
            lambda run: asyncio.run(run.result_async()),
        ):
            with pytest.raises(RunNotFound, match=f"there is no run {run_id}"):
                ask(get_run(run_id))


def test_it_is_not_found_either_while_workers_are_there(jtask_worker: StartWorker) -> None:
    @task
    def work() -> None: ...

    jtask_worker(work)
    with pytest.raises(RunNotFound):
        _ = get_run(RunIds().new()).state
    with pytest.raises(RunNotFound):
        get_run(RunIds().new()).result()


def test_a_run_whose_outcome_has_expired_says_so(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task
    def work() -> int:
        return 1

    jtask_worker(work)
    run = work.delay()
    assert run.result(PATIENCE) == 1
    wait_until_off_its_queue(run.run_id)
    delete_outcome(run.run_id, monkeypatch)
    ttl, now = get_settings().result_ttl, time.time
    monkeypatch.setattr(time, "time", lambda: now() + ttl + 1)
    fresh: Run[Any] = Run(run.run_id, get_client())
    del run  # it would tell the other
    with pytest.raises(ResultExpired, match="JTASK_RESULT_TTL"):
        _ = fresh.state
    with pytest.raises(ResultExpired):
        fresh.result()
    assert isinstance(ResultExpired(), RunNotFound)


def test_a_handle_that_outlived_its_outcome_does_not_wait_for_ever(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task
    def work() -> int:
        return 1

    run = work.delay()
    delete_outcome(run.run_id, monkeypatch)
    jtask_worker(work)
    wait_until_off_its_queue(run.run_id)
    ttl, now = get_settings().result_ttl, time.time
    monkeypatch.setattr(time, "time", lambda: now() + ttl + 1)
    with pytest.raises(ResultExpired):
        run.result()


def test_a_timeout_says_when_no_worker_serves_the_queue(jtask_worker: StartWorker) -> None:
    @task(queue="forgotten")
    def work() -> None: ...

    @task(queue="served")
    def other() -> None: ...

    jtask_worker(other)
    run = work.delay()
    with pytest.raises(ResultTimeout, match=r"queue 'forgotten', which no worker serves"):
        run.result(0.1)
    with pytest.raises(ResultTimeout, match=r"which no worker serves"):
        asyncio.run(run.result_async(0.1))
    late = other.with_options(delay=timedelta(hours=1)).delay()
    with pytest.raises(ResultTimeout, match=r"it is due in 3\d\d\d seconds"):
        late.result(0.1)


def test_who_waits_for_long_is_told_that_no_worker_serves_the_queue(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @task(queue="late")
    def work() -> int:
        return 5

    for module in (future, silence):
        monkeypatch.setattr(module, "SILENT_SECONDS", 0.01)
    monkeypatch.setattr("jtask.client.client._EXPLAIN_SECONDS", PATIENCE)
    blocking, on_loop = work.delay(), work.delay()
    with ThreadPoolExecutor(2) as pool:
        values = [
            pool.submit(blocking.result, PATIENCE),
            pool.submit(asyncio.run, on_loop.result_async(PATIENCE)),
        ]
        for run in (blocking, on_loop):
            said = f"run {run.run_id} has not ended after 0.01 s: it waits on the queue 'late', "
            eventually(lambda said=said: f"{said}which no worker serves" in caplog.text)
        jtask_worker(work)
        assert [value.result() for value in values] == [5, 5]


def test_who_waits_for_several_runs_for_long_is_told_as_well(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @task(queue="late")
    def work() -> None: ...

    for module in (completion, silence):
        monkeypatch.setattr(module, "SILENT_SECONDS", 0.01)
    monkeypatch.setattr("jtask.client.client._EXPLAIN_SECONDS", PATIENCE)
    monkeypatch.setattr(silence, "_asked", deque(maxlen=silence.MOST_ASKED))
    blocking, on_loop = FutureList([work.delay()]), FutureList([work.delay()])
    with ThreadPoolExecutor(2) as pool:
        waits = [
            pool.submit(blocking.wait, PATIENCE),
            pool.submit(asyncio.run, on_loop.wait_async(PATIENCE)),
        ]
        for run in (*blocking, *on_loop):
            said = f"run {run.run_id} has not ended after "
            eventually(lambda said=said: said in caplog.text)
            run.cancel()
        assert all(wait.result() for wait in waits)
    assert caplog.text.count("it waits on the queue 'late', which no worker serves") == 2


def test_of_very_many_who_wait_a_few_ask_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "_asked", deque(maxlen=silence.MOST_ASKED))
    monkeypatch.setattr(silence, "SILENT_SECONDS", 3600)
    assert [silence.may_ask() for _ in range(7)] == [True] * 5 + [False] * 2


def test_a_run_that_waits_on_a_queue_can_be_waited_for_from_anywhere(
    jtask_worker: StartWorker,
) -> None:
    @task
    def work() -> int:
        return 5

    run: Run[Any] = Run(work.delay().run_id, get_client())
    with pytest.raises(ResultTimeout):
        run.result(0.1)
    jtask_worker(work)
    assert run.result(PATIENCE) == 5


def test_version_tags_and_parent_are_kept_to_the_end(jtask_worker: StartWorker) -> None:
    @task(version="7", tags=["inner"])
    def child() -> str:
        return str(runtime.version)

    @task
    def parent() -> str:
        return child.delay().run_id

    jtask_worker(parent, child)
    outer = parent.delay()
    inner = get_run(outer.result(PATIENCE))
    assert inner.result(PATIENCE) == "7"
    assert inner.info is not None
    assert (inner.info.version, inner.info.parent) == ("7", outer.run_id)
    assert inner.info.tags == ("inner",)
    assert outer.info is not None
    assert (outer.info.version, outer.info.parent, outer.info.tags) == (None, None, ())
    first = eventually(lambda: [e for e in events_of(inner.run_id) if e.state == "Scheduled"])[0]
    assert (first.version, first.parent, first.tags) == ("7", outer.run_id, ("inner",))


def test_the_end_of_a_run_that_was_cancelled_tells_them_too() -> None:
    @task(version="7", tags=["x"])
    def work() -> None: ...

    run = work.delay()
    run.cancel()
    assert run.wait(PATIENCE)
    assert run.info is not None
    assert (run.info.version, run.info.tags) == ("7", ("x",))


def test_the_state_of_a_run_gives_its_result(jtask_worker: StartWorker, gate: Gate) -> None:
    @task(serializer="cloudpickle")
    def work(size: int) -> str:
        gate.pass_through()
        return "x" * size

    small, large = work.delay(3), work.delay(2_000_000)
    jtask_worker(work)
    eventually(lambda: small.state.name is StateName.RUNNING)
    for raise_on_failure in (True, False):
        with pytest.raises(RunUnfinished, match="is Running and has no result yet"):
            small.state.result(raise_on_failure)
    gate.opened.set()
    assert small.wait(PATIENCE)
    assert large.wait(PATIENCE)
    assert small.state.result() == "xxx"
    assert large.state.result() == "x" * 2_000_000
    assert small.info is not None
    assert small.info.state.result() == "xxx"
    # A handle that asks for the first time.
    assert get_run(small.run_id, work).state.result() == "xxx"
    assert asyncio.run(small.state_async()).result() == "xxx"


def test_the_state_of_a_run_without_a_value_raises(jtask_worker: StartWorker) -> None:
    @task
    def fail() -> None:
        raise LookupError("no such thing")

    @task
    def leave() -> None:
        raise SystemExit(3)

    cancelled = fail.delay()
    cancelled.cancel("enough")
    jtask_worker(fail, leave)
    for run, kind, text in (
        (fail.delay(), LookupError, "no such thing"),
        (leave.delay(), RunCrashed, "SystemExit"),
        (cancelled, RunCancelled, "enough"),
    ):
        assert run.wait(PATIENCE)
        with pytest.raises(kind, match=text):
            run.state.result()
        error = run.state.result(raise_on_failure=False)
        assert type(error) is kind
        with pytest.raises(kind, match=text):
            get_run(run.run_id).state.result()


def test_the_state_that_ends_a_run_gives_its_result_to_hooks(jtask_worker: StartWorker) -> None:
    found: list[Any] = []

    def note(task: Any, run: Any, state: Any) -> None:
        found.append(state.result(raise_on_failure=False))

    @task(on_completion=[note], on_cancellation=[note])
    def work() -> int:
        return 7

    cancelled = work.delay()
    cancelled.cancel("enough")
    jtask_worker(work)
    assert work.delay().result(PATIENCE) == 7
    eventually(lambda: len(found) == 2)
    assert 7 in found
    assert [type(one) for one in found if one != 7] == [RunCancelled]
