"""Runs that do the same work get one value, on both brokers."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from in_process import StartWorker, on_each_broker
from waiting import PATIENCE, eventually

import jtask_caching.runs
from jtask import Run, Task, runtime, task
from jtask.cache_policies import DEFAULT, INPUTS, NO_CACHE, TASK_SOURCE
from jtask.plugins import get_plugins
from jtask.rate_limited_log import RateLimitedLog
from jtask.states import StateName
from jtask_caching.operations import forget, list_entries

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker
SERIALIZABLE = INPUTS.configure(isolation_level="SERIALIZABLE")


class Counted:
    """How often a function was executed."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __call__(self, value: Any) -> None:
        self.calls.append(value)


@pytest.fixture
def counted() -> Counted:
    return Counted()


def square_with(counted: Counted, **options: Any) -> Task[[int], int]:
    @task(**options)
    def square(number: int) -> int:
        counted(number)
        return number * number

    return square


def ends(run: Run[Any]) -> tuple[Any, StateName]:
    return run.result(PATIENCE), run.state.name


def test_a_value_is_computed_once_and_shared_by_background_runs_and_direct_calls(
    counted: Counted, jtask_worker: StartWorker
) -> None:
    square = square_with(counted, cache_policy=INPUTS)
    jtask_worker(square)
    assert ends(square.delay(3)) == (9, StateName.COMPLETED)
    assert ends(square.delay(3)) == (9, StateName.CACHED)
    assert square(3) == 9
    assert square(4) == 16
    assert ends(square.delay(4)) == (16, StateName.CACHED)
    assert counted.calls == [3, 4]


def test_a_hit_is_answered_while_every_slot_is_busy(jtask_worker: StartWorker) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @task(cache_policy=INPUTS)
    def work(number: int) -> int:
        if number == 2:
            begun.set()
            assert go_on.wait(PATIENCE)
        return number

    jtask_worker(work, concurrency=1)
    assert work.delay(1).result(PATIENCE) == 1
    slow = work.delay(2)
    assert begun.wait(PATIENCE)
    assert ends(work.delay(1)) == (1, StateName.CACHED)
    assert not slow.done()
    go_on.set()
    assert slow.result(PATIENCE) == 2


def test_none_is_a_value_and_a_failure_is_none(counted: Counted, jtask_worker: StartWorker) -> None:
    @task(cache_policy=INPUTS)
    def work(number: int) -> None:
        counted(number)
        if number < 0:
            raise ValueError(number)

    jtask_worker(work)
    for number in (1, 1, -1, -1):
        assert work.delay(number).wait(PATIENCE)
    assert counted.calls == [1, -1, -1]


def test_a_large_value_is_kept_and_ends_with_its_expiration(
    counted: Counted, jtask_worker: StartWorker
) -> None:
    @task(cache_policy=INPUTS, cache_expiration=1)
    def fill(size: int) -> str:
        counted(size)
        return "x" * size

    jtask_worker(fill)
    size = 2_000_000
    assert [len(fill.delay(size).result(PATIENCE)) for _ in range(2)] == [size, size]
    assert counted.calls == [size]
    eventually(lambda: list_entries() == [])
    assert ends(fill.delay(size))[1] is StateName.COMPLETED


def test_a_refreshed_value_replaces_the_one_that_was_kept(
    counted: Counted, jtask_worker: StartWorker
) -> None:
    @task(cache_policy=INPUTS)
    def clock(zone: int) -> float:
        counted(zone)
        return time.time()

    jtask_worker(clock)
    old = clock.delay(1).result(PATIENCE)
    new, state = ends(clock.with_options(refresh_cache=True).delay(1))
    assert (new > old, state) == (True, StateName.COMPLETED)
    assert ends(clock.delay(1)) == (new, StateName.CACHED)


def test_a_key_function_and_a_template_make_the_key(
    counted: Counted, jtask_worker: StartWorker
) -> None:
    by_parity = square_with(counted, cache_key_fn=lambda context, parameters: None)
    by_name = square_with(
        counted,
        name="by-name",
        result_storage_key="{task_run.task_name}-{parameters[number]}",
    )
    jtask_worker(by_parity, by_name)
    assert [ends(by_parity.delay(2))[1] for _ in range(2)] == [StateName.COMPLETED] * 2
    assert ends(by_name.delay(5)) == (25, StateName.COMPLETED)
    assert ends(by_name.delay(5)) == (25, StateName.CACHED)
    assert [entry.key for entry in list_entries("by-name")] == ["by-name-5"]
    assert forget(["by-name-5", "no such key"]) == ["by-name-5"]
    assert ends(by_name.delay(5)) == (25, StateName.COMPLETED)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cache_policy": NO_CACHE},
        {"cache_policy": INPUTS, "persist_result": False},
        {"cache_policy": DEFAULT},
    ],
)
def test_what_is_not_to_be_cached_is_executed(
    options: dict[str, Any], counted: Counted, jtask_worker: StartWorker
) -> None:
    square = square_with(counted, **options)
    jtask_worker(square)
    assert [ends(square.delay(3)) for _ in range(2)] == [(9, StateName.COMPLETED)] * 2


def test_what_cannot_be_part_of_a_key_is_executed_and_said(
    counted: Counted,
    jtask_worker: StartWorker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jtask_caching.runs, "_uncached", RateLimitedLog(60.0))

    class Thing:
        pass

    @task(cache_policy=INPUTS + TASK_SOURCE, serializer="cloudpickle")
    def work(thing: Any) -> str:
        counted(1)
        return "done"

    jtask_worker(work)
    assert [ends(work.delay(Thing()))[1] for _ in range(2)] == [StateName.COMPLETED] * 2
    (said,) = [m for m in caplog.messages if "are not cached" in m]
    assert 'INPUTS - "name"' in said


@pytest.mark.parametrize("workers", [1, 2])
def test_of_serializable_runs_one_is_executed_and_the_others_get_its_value(
    workers: int, counted: Counted, jtask_worker: StartWorker
) -> None:
    @task(cache_policy=SERIALIZABLE)
    def slow(number: int) -> str:
        counted(number)
        time.sleep(0.2)
        return runtime.run_id

    for _ in range(workers):
        jtask_worker(slow)
    runs = [slow.delay(7) for _ in range(100)]
    values = [run.result(PATIENCE) for run in runs]
    assert len(set(values)) == 1
    assert counted.calls == [7]
    states = [run.state.name for run in runs]
    assert (states.count(StateName.COMPLETED), states.count(StateName.CACHED)) == (1, 99)


def test_hooks_of_a_hit_see_its_value(counted: Counted, jtask_worker: StartWorker) -> None:
    seen: list[Any] = []

    def tell(task: Any, run: Any, state: Any) -> None:
        seen.append((state.name, state.result()))

    square = square_with(counted, cache_policy=INPUTS, on_completion=[tell])
    jtask_worker(square)
    for _ in range(2):
        assert square.delay(3).result(PATIENCE) == 9
    assert square(3) == 9
    assert seen == [("Completed", 9), ("Cached", 9), ("Cached", 9)]
    assert counted.calls == [3]


def test_a_value_of_another_serializer_is_not_used(
    counted: Counted, jtask_worker: StartWorker
) -> None:
    plain = square_with(counted, name="plain", cache_policy=INPUTS)
    pickled = square_with(counted, name="pickled", cache_policy=INPUTS, serializer="cloudpickle")
    jtask_worker(plain, pickled)
    assert ends(plain.delay(3)) == (9, StateName.COMPLETED)
    assert ends(pickled.delay(3)) == (9, StateName.COMPLETED)
    assert ends(pickled.delay(3)) == (9, StateName.CACHED)


def test_when_the_one_fails_the_next_computes_the_value(
    counted: Counted, jtask_worker: StartWorker
) -> None:
    @task(cache_policy=SERIALIZABLE)
    async def fails_first(number: int) -> int:
        counted(number)
        await asyncio.sleep(0.05)
        if len(counted.calls) == 1:
            raise ValueError("the first one")
        return number

    jtask_worker(fails_first)
    runs = [fails_first.delay(1) for _ in range(5)]
    for run in runs:
        assert run.wait(PATIENCE)
    states = sorted(run.state.name for run in runs)
    assert states == ["Cached", "Cached", "Cached", "Completed", "Failed"]
    assert len(counted.calls) == 2


@pytest.fixture(autouse=True)
def _with_the_plugin() -> Iterator[None]:
    plugins = get_plugins()
    if "caching" in plugins.names:
        yield
        return
    plugins.add(jtask_caching)
    yield
    plugins.remove(jtask_caching)
