"""Runs that do the same work get one value, on both brokers."""

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from in_process import StartWorker, on_each_broker, on_io
from waiting import PATIENCE, eventually

import jtask_caching.runs
from jtask import Run, Task, flow, runtime, task
from jtask.cache_policies import DEFAULT, INPUTS, NO_CACHE, RUN_ID, TASK_SOURCE
from jtask.plugins import get_plugins
from jtask.rate_limited_log import RateLimitedLog
from jtask.settings import get_settings
from jtask.states import StateName
from jtask_caching.operations import forget, list_entries
from jtask_caching.store import Cache, Entry, _blob_key

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
    (entry,) = list_entries()
    eventually(lambda: list_entries() == [])
    eventually(lambda: on_io(lambda broker: broker.blobs.get(_blob_key(entry.key))) is None)
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


def test_a_setting_refreshes_what_does_not_say_otherwise(
    counted: Counted, jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JTASK_DEFAULT_REFRESH_CACHE", "true")
    get_settings.cache_clear()
    refreshed = square_with(counted, name="refreshed", cache_policy=INPUTS)
    kept = square_with(counted, name="kept", cache_policy=INPUTS, refresh_cache=False)
    jtask_worker(refreshed, kept)
    assert [ends(refreshed.delay(3))[1] for _ in range(2)] == [StateName.COMPLETED] * 2
    assert ends(kept.delay(3))[1] is StateName.CACHED


def test_tasks_that_compute_the_same_key_share_the_value_and_its_end(
    counted: Counted, jtask_worker: StartWorker
) -> None:
    first = square_with(counted, name="first", cache_policy=INPUTS, cache_expiration=600)
    second = square_with(counted, name="second", cache_policy=INPUTS)
    jtask_worker(first, second)
    assert ends(first.delay(3)) == (9, StateName.COMPLETED)
    assert ends(second.delay(3)) == (9, StateName.CACHED)
    (entry,) = list_entries()
    assert (entry.task, entry.expires) == ("first", entry.at + 600)


@dataclass
class Shop:
    name: str

    @task(cache_policy=INPUTS)
    def price(self, item: str) -> list[str]:
        return [runtime.run_id, f"{item} at {self.name}"]


def test_a_method_is_cached_for_each_object() -> None:
    found = Shop("a").price("tea")
    assert Shop("a").price("tea") == found
    assert Shop("b").price("tea")[1] == "tea at b"


def test_a_key_function_and_a_template_make_the_key(
    counted: Counted, jtask_worker: StartWorker
) -> None:
    by_nothing = square_with(
        counted,
        name="by-nothing",
        cache_policy=INPUTS,
        cache_key_fn=lambda context, parameters: None,
    )
    by_parity = square_with(
        counted,
        name="by-parity",
        # The function counts: by the inputs these would be two.
        cache_policy=INPUTS,
        cache_key_fn=lambda context, parameters: f"parity {parameters['number'] % 2}",
    )
    by_name = square_with(
        counted,
        name="by-name",
        result_storage_key="{task_run.task_name}-{parameters[number]}",
    )
    jtask_worker(by_nothing, by_parity, by_name)
    assert [ends(by_nothing.delay(2))[1] for _ in range(2)] == [StateName.COMPLETED] * 2
    assert ends(by_parity.delay(2)) == (4, StateName.COMPLETED)
    assert ends(by_parity.delay(4)) == (4, StateName.CACHED)
    assert ends(by_parity.delay(1)) == (1, StateName.COMPLETED)
    assert ends(by_name.delay(5)) == (25, StateName.COMPLETED)
    assert ends(by_name.delay(5)) == (25, StateName.CACHED)
    assert [entry.key for entry in list_entries("by-name")] == ["by-name-5"]
    assert forget(["by-name-5", "no such key"]) == ["by-name-5"]
    assert ends(by_name.delay(5)) == (25, StateName.COMPLETED)


def test_a_key_function_may_ask_the_runtime_of_its_run(jtask_worker: StartWorker) -> None:
    def by_runtime(context: Any, parameters: dict[str, Any]) -> str:
        return f"{runtime.task_run.task_name} {runtime.run_id == context.run_id}"

    @task(cache_key_fn=by_runtime)
    def inner() -> str:
        return "value"

    @task
    def outer() -> str:
        return inner()

    jtask_worker(outer)
    assert outer() == outer.delay().result(PATIENCE) == "value"
    assert [entry.key for entry in list_entries("inner")] == ["inner True"]


def test_a_template_knows_the_run_and_its_flow_by_the_names_of_the_runtime() -> None:
    @task(result_storage_key="{flow_run.flow_name}/{task_run.task_name}-{task_run.run_count}")
    def invoice() -> str:
        return "value"

    @flow
    def month() -> str:
        return invoice()

    assert month() == "value"
    assert [entry.key for entry in list_entries("invoice")] == ["month/invoice-1"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cache_policy": NO_CACHE},
        {"cache_policy": INPUTS, "persist_result": False},
        {"cache_policy": DEFAULT},
        {"persist_result": True},
    ],
)
def test_what_is_not_to_be_cached_is_executed(
    options: dict[str, Any], counted: Counted, jtask_worker: StartWorker
) -> None:
    square = square_with(counted, **options)
    jtask_worker(square)
    assert [ends(square.delay(3)) for _ in range(2)] == [(9, StateName.COMPLETED)] * 2


class Thing:
    """What has no stable form."""


def fail(context: Any, parameters: Any) -> str:
    raise KeyError("no such parameter")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cache_policy": INPUTS + TASK_SOURCE}, "Thing"),
        ({"cache_key_fn": fail}, "no such parameter"),
        ({"cache_key_fn": lambda context, parameters: 7}, "must be a text or None, got int"),
        ({"cache_key_fn": lambda context, parameters: "k" * 2001}, "the key has 2001 characters"),
    ],
)
def test_a_run_whose_key_cannot_be_computed_is_executed_and_that_is_said(
    options: dict[str, Any],
    said: str,
    jtask_worker: StartWorker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jtask_caching.runs, "_uncached", RateLimitedLog(60.0))

    @task(serializer="cloudpickle", **options)
    def work(thing: Any) -> str:
        return "done"

    jtask_worker(work)
    assert [ends(work.delay(Thing()))[1] for _ in range(2)] == [StateName.COMPLETED] * 2
    (line,) = [m for m in caplog.messages if "are not cached" in m]
    assert said in line
    # What helps where an argument has no hash is no help for a function that fails.
    assert ('INPUTS - "name"' in line) is ("cache_key_fn" not in options)


def test_with_default_a_retry_gets_what_an_earlier_attempt_has_computed(
    counted: Counted, jtask_worker: StartWorker
) -> None:
    inner = square_with(counted, name="inner", cache_policy=DEFAULT)

    @task(retries=1)
    def outer() -> int:
        found = inner(3)
        if runtime.attempt == 1:
            raise ValueError("once more")
        return found

    jtask_worker(outer)
    assert outer.delay().result(PATIENCE) == 9
    assert counted.calls == [3]
    assert outer.delay().result(PATIENCE) == 9
    assert counted.calls == [3, 3]


def test_a_run_that_is_delivered_again_gets_the_value_that_it_has_computed(
    jtask_worker: StartWorker,
) -> None:
    @task(cache_policy=RUN_ID)
    def work() -> str:
        raise AssertionError

    run = work.delay()
    # As if its worker had died between keeping the value and storing the outcome.
    entry = Entry(run.run_id, "work", run.run_id, time.time(), None, "json", 5, b'"one"')
    on_io(lambda broker: Cache(broker).put(entry))
    jtask_worker(work)
    assert ends(run) == ("one", StateName.CACHED)


def test_runs_at_the_same_time_are_all_executed_and_the_last_value_stands(
    jtask_worker: StartWorker,
) -> None:
    both, gates = threading.Barrier(2), {name: threading.Event() for name in "ab"}

    @task(cache_policy=INPUTS - "name")
    def work(number: int, name: str) -> str:
        both.wait(PATIENCE)
        assert gates[name].wait(PATIENCE)
        return name

    jtask_worker(work, concurrency=2)
    runs = {name: work.delay(1, name) for name in "ab"}
    for name in "ba":
        gates[name].set()
        assert ends(runs[name]) == (name, StateName.COMPLETED)
    assert ends(work.delay(1, "c")) == ("a", StateName.CACHED)


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


def test_hooks_of_a_hit_see_its_value_and_no_running(
    counted: Counted, jtask_worker: StartWorker
) -> None:
    seen: list[Any] = []

    def begin(task: Any, run: Any, state: Any) -> None:
        seen.append((state.name, None))

    def tell(task: Any, run: Any, state: Any) -> None:
        seen.append((state.name, state.result()))

    square = square_with(counted, cache_policy=INPUTS, on_running=[begin], on_completion=[tell])
    jtask_worker(square)
    for _ in range(2):
        assert square.delay(3).result(PATIENCE) == 9
    assert square(3) == 9
    assert seen == [("Running", None), ("Completed", 9), ("Cached", 9), ("Cached", 9)]
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


def test_a_call_inside_of_the_run_with_its_key_does_not_wait_for_that(
    counted: Counted, jtask_worker: StartWorker
) -> None:
    inner = square_with(counted, name="inner", cache_policy=SERIALIZABLE)

    @task
    def between(number: int) -> int:
        return inner(number)

    @task(cache_policy=SERIALIZABLE)
    def outer(number: int) -> int:
        counted("outer")
        return between(number)

    jtask_worker(outer)
    assert ends(outer.delay(3)) == (9, StateName.COMPLETED)
    assert ends(outer.delay(3)) == (9, StateName.CACHED)
    # The lock was given back, once.
    assert ends(outer.with_options(refresh_cache=True).delay(3)) == (9, StateName.COMPLETED)
    assert counted.calls == ["outer", 3, "outer"]


@pytest.fixture(autouse=True)
def _with_the_plugin() -> Iterator[None]:
    plugins = get_plugins()
    if "caching" in plugins.names:
        yield
        return
    plugins.add(jtask_caching)
    yield
    plugins.remove(jtask_caching)
