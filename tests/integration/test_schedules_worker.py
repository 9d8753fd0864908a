"""Schedules and delays from end to end, in one process, on both brokers."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from in_process import StartWorker, on_each_broker, on_io
from waiting import PATIENCE, eventually

from jtask import runtime, task
from jtask.client import get_client
from jtask.errors import RunExpired, TaskDefinitionError
from jtask.ids import created_at
from jtask_schedules import decisions
from jtask_schedules.schedule_store import ScheduleStore

started: list[tuple[str, float]] = []
unscheduled: list[str] = []
instants: list[tuple[int, float | None]] = []


@task(key="scheduled-beat", every=1)
def beat() -> None:
    started.append((str(runtime.run_id), time.time()))
    if runtime.task.options["every"] is None:
        unscheduled.append(str(runtime.run_id))


beat_no_more = beat.with_options(every=None)
"""The task as a later version of the code has it."""


@task(key="scheduled-abeat", every=timedelta(seconds=1), queue="beats")
async def abeat() -> None:
    started.append((str(runtime.run_id), time.time()))


@task(key="yearly-pickled", cron="0 0 1 1 *", serializer="cloudpickle")
def yearly(what: str = "all") -> str:
    return what


@task(key="delayed-hello")
def hello() -> float:
    return time.time()


@task(key="scheduled-retry", every=1, retries=1)
def beat_twice() -> None:
    instants.append((runtime.attempt, runtime.scheduled_for))
    if runtime.attempt == 1:
        raise ValueError("once more")


@task(key="unscheduled")
def not_scheduled() -> float | None:
    return runtime.scheduled_for


jtask_broker = on_each_broker


@pytest.fixture(autouse=True)
def _nothing_started() -> None:
    started.clear()
    unscheduled.clear()
    instants.clear()


def keep(work: Callable[[ScheduleStore], Any]) -> Any:
    """Do something with a store of the schedules."""
    return on_io(lambda broker: work(ScheduleStore(broker)))


@pytest.mark.parametrize("scheduled", [beat, abeat], ids=["plain", "coroutine"])
def test_a_schedule_of_three_workers_runs_once_at_each_instant(
    jtask_worker: StartWorker, scheduled: Any
) -> None:
    for _ in range(3):
        jtask_worker(scheduled)
    eventually(lambda: len(started) >= 3)
    ids = [run_id for run_id, _ in started]
    assert len(set(ids)) == len(ids)
    assert all(created_at(b) - created_at(a) > 0.99 for a, b in pairwise(ids))
    assert all(at >= created_at(run_id) for run_id, at in started)


def test_a_run_of_a_schedule_knows_its_instant_in_every_attempt(jtask_worker: StartWorker) -> None:
    jtask_worker(beat_twice, not_scheduled)
    eventually(lambda: [attempt for attempt, _ in instants].count(2) >= 1)
    again = next(instant for attempt, instant in instants if attempt == 2)
    assert (1, again) in instants
    assert again is not None
    assert abs(time.time() - again) < PATIENCE
    assert not_scheduled.delay().result(timeout=PATIENCE) is None


def test_a_paused_schedule_starts_nothing_until_it_is_resumed(jtask_worker: StartWorker) -> None:
    jtask_worker(beat, hello)
    eventually(lambda: started)
    keep(lambda store: store.pause(beat.key))
    paused = time.time()
    hello.apply_async(countdown=2.2).result(timeout=PATIENCE)
    assert all(created_at(run_id) <= paused for run_id, _ in started)
    keep(lambda store: store.resume(beat.key))
    eventually(lambda: created_at(started[-1][0]) > paused)


def test_a_run_of_a_schedule_that_the_code_has_dropped_is_left_to_code_that_has_it(
    jtask_worker: StartWorker,
) -> None:
    later = jtask_worker(beat_no_more, concurrency=2)
    jtask_worker(beat, concurrency=1)
    eventually(lambda: len(started) >= 3)
    assert later.problem() is None
    assert unscheduled == []


def test_a_run_of_a_schedule_that_no_code_has_any_more_ends_and_is_not_followed(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    declaring = jtask_worker(beat)
    eventually(lambda: started)
    declaring.stop()
    monkeypatch.setattr(decisions, "LAPSE_SECONDS", 0.0)
    schedule = keep(lambda store: store.find(beat.key)).schedule
    jtask_worker(beat_no_more, hello)
    run = get_client().handle(schedule.run_id(schedule.pending))
    assert run.wait(PATIENCE)
    assert run.state.message == "no worker has its schedule any more"
    assert run.state.name == "Cancelled"
    assert on_io(lambda broker: broker.queues.depth(beat.queue)) == 0
    assert keep(lambda store: store.find(beat.key)).schedule.pending == schedule.pending
    assert unscheduled == []


def test_a_task_with_pickled_arguments_can_be_scheduled(jtask_worker: StartWorker) -> None:
    jtask_worker(yearly)
    eventually(lambda: keep(lambda store: store.find(yearly.key)))
    client = get_client()
    run_id = client.ids.new()
    keep(lambda store: store.run_now(yearly.key, run_id))
    assert client.handle(run_id, yearly).result(timeout=PATIENCE) == "all"


def test_a_direct_call_of_a_scheduled_task_is_just_a_call() -> None:
    assert yearly("some") == "some"


def test_a_delayed_run_starts_at_its_instant_and_not_before(jtask_worker: StartWorker) -> None:
    jtask_worker(hello)
    for delay in (0.03, 0.2, 0.6):
        at = time.time() + delay
        assert hello.apply_async(eta=at).result(timeout=PATIENCE) >= at
        before = time.time()
        assert hello.with_options(delay=delay).delay().result(PATIENCE) >= before + delay


def test_an_instant_in_the_past_is_now(jtask_worker: StartWorker) -> None:
    jtask_worker(hello)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert hello.apply_async(eta=yesterday).result(timeout=PATIENCE)
    assert hello.with_options(delay=-5).delay().result(timeout=PATIENCE)


@pytest.mark.parametrize("option", ["eta", "expires"])
def test_a_datetime_without_a_time_zone_is_refused(jtask_broker: str, option: str) -> None:
    naive = datetime(2030, 1, 1)
    with pytest.raises(TaskDefinitionError, match="no time zone"):
        hello.apply_async(**{option: naive})
    with pytest.raises(TaskDefinitionError, match="no time zone"):
        hello.with_options(**{option: naive}).delay()


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("countdown", {"countdown": float("nan")}),
        ("eta", {"eta": float("inf")}),
        ("expires", {"expires": "soon"}),
    ],
)
def test_a_time_that_is_none_is_refused_by_name(
    jtask_broker: str, name: str, option: dict[str, Any]
) -> None:
    with pytest.raises(TaskDefinitionError, match=f"{name} must be .*finite number of seconds"):
        hello.apply_async(**option)


def test_a_run_that_expired_before_any_worker_came_ends_as_expired(
    jtask_worker: StartWorker,
) -> None:
    waiting = hello.apply_async(expires=0.1)
    delayed = hello.apply_async(countdown=0.6, expires=0.3)
    eventually(lambda: time.time() > created_at(waiting.run_id) + 0.7)
    jtask_worker(hello)
    for run in (waiting, delayed):
        with pytest.raises(RunExpired):
            run.result(timeout=PATIENCE)
        assert run.state.name == "Expired"
