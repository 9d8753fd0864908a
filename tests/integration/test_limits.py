"""No more runs execute at once than their limits say, and those that wait are started in turn."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from in_process import StartWorker, lose_workers, on_each_broker, on_io
from waiting import PATIENCE, eventually, until

import jtask_limits.wanted_slots
from jtask import Run, runtime, tags, task
from jtask.cache_policies import INPUTS
from jtask.client import get_client
from jtask.errors import (
    BrokerUnavailable,
    LimitNotFound,
    LimitTimeout,
    RunRefused,
    TaskDefinitionError,
)
from jtask.outcomes import CancelResult
from jtask.plugins import get_plugins
from jtask.rate_limited_log import RateLimitedLog
from jtask.settings import get_settings
from jtask_limits import arate_limit, concurrency, definitions, rate_limit
from jtask_limits.definitions import Limit
from jtask_limits.operations import create_limit, holders_of, remove_limit, update_limit

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


class Watched:
    """How many executions there are at once, and which began when."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.began: list[Any] = []
        self.ended = set[Any]()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self.now -= 1

    def execute(self, number: Any, seconds: float = 0.02) -> None:
        with self:
            self.began.append(number)
            time.sleep(seconds)
            self.ended.add(number)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def finish(runs: list[Run[Any]]) -> None:
    for run in runs:
        run.result(PATIENCE)


def taken(name: str) -> int:
    return len(holders_of(name))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_has_no_more_runs_at_once_than_its_limit(
    workers: int, watched: Watched, jtask_worker: StartWorker
) -> None:
    @task(limit=3)
    def work(number: int) -> None:
        watched.execute(number)

    for _ in range(workers):
        jtask_worker(work, concurrency=10)
    finish([work.delay(number) for number in range(60)])
    assert watched.most == 3


def test_runs_that_wait_take_no_slot_of_the_worker_and_go_in_turn(
    watched: Watched, jtask_worker: StartWorker
) -> None:
    go_on = threading.Event()

    @task(limit=1)
    def limited(number: int) -> None:
        watched.began.append(number)
        assert go_on.wait(PATIENCE)

    @task
    def free() -> int:
        return 7

    jtask_worker(limited, free, concurrency=2)
    runs = [limited.delay(number) for number in range(20)]
    eventually(lambda: watched.began)
    eventually(lambda: "the limit of task 'limited' is 1" in str(runs[-1].state.message))
    assert [free.delay().result(PATIENCE) for _ in range(5)] == [7] * 5
    go_on.set()
    finish(runs)
    # Two were asked at the same moment, whichever was quicker.
    assert max(abs(at - number) for at, number in enumerate(watched.began)) <= 2


def test_what_must_wait_of_many_that_are_sent_at_once_goes_to_no_worker_before(
    watched: Watched, jtask_worker: StartWorker
) -> None:
    ahead = list[int]()

    @task(limit=2, queue="scarce")
    def limited(number: int) -> None:
        ahead.append(len(set(range(number)) - watched.ended))
        watched.execute(number)

    runs = limited.delay_many([(number,) for number in range(10)])

    async def waiting(broker: Any) -> dict[str, float | None]:
        found = [run async for run in broker.queues.waiting("scarce")]
        return {run.run_id: run.at for run in found if run.is_parked}

    parked = on_io(waiting)
    assert list(parked) == [run.run_id for run in runs[2:]]
    # Should the caller be gone, and nobody hand on what is free, the last comes by itself soon.
    assert parked[runs[9].run_id] < parked[runs[8].run_id] - 100
    assert runs[5].state.message == "it waits for its turn"
    jtask_worker(limited, concurrency=10)
    finish(runs)
    assert watched.most == 2
    # In turn: who begins has one before it that goes on, at most, whichever thread was quicker.
    assert max(ahead) <= 1


def test_what_is_put_off_for_another_reason_is_not_parked_for_a_limit() -> None:
    @task(limit=1, queue="scarce", debounce=600)
    def limited(number: int) -> None:
        raise AssertionError

    limited.delay_many([(number,) for number in range(5)])

    async def waiting(broker: Any) -> list[bool]:
        return [run.is_parked async for run in broker.queues.waiting("scarce")]

    assert on_io(waiting) == [False]


def test_each_key_has_a_limit_of_its_own(watched: Watched, jtask_worker: StartWorker) -> None:
    gates = {tenant: threading.Event() for tenant in "ab"}

    def by_tenant(run: Any, parameters: dict[str, Any]) -> str:
        return parameters["tenant"]

    @task(limit=1, limit_key=by_tenant)
    def by_function(tenant: str, number: int) -> None:
        watched.began.append((tenant, number))
        assert gates[tenant].wait(PATIENCE)

    jtask_worker(by_function, concurrency=10)
    runs = {key: [by_function.delay(key, n) for n in range(3)] for key in "ab"}

    def begun(tenant: str) -> int:
        return sum(one[0] == tenant for one in watched.began)

    eventually(lambda: (begun("a"), begun("b")) == (1, 1))
    gates["b"].set()
    finish(runs["b"])
    assert (begun("a"), begun("b")) == (1, 3)
    gates["a"].set()
    finish(runs["a"])


def test_a_template_makes_the_key(watched: Watched, jtask_worker: StartWorker) -> None:
    @task(limit=1, limit_key="{tenant}")
    def work(tenant: str) -> None:
        watched.execute(tenant)

    jtask_worker(work, concurrency=10)
    finish([work.delay("a") for _ in range(10)])
    assert watched.most == 1


def test_a_run_without_a_key_is_refused_and_not_unlimited(jtask_worker: StartWorker) -> None:
    @task(limit=1, limit_key="{tenant.id}")
    def work(tenant: str) -> None:
        raise AssertionError

    jtask_worker(work)
    run = work.delay("a")
    with pytest.raises(RunRefused, match="its limit_key makes no key: AttributeError"):
        run.result(PATIENCE)


def test_a_limit_of_a_tag_is_made_changed_and_removed_while_runs_wait(
    watched: Watched, jtask_worker: StartWorker
) -> None:
    gate = threading.Event()

    @task
    def work(number: int) -> None:
        with watched:
            assert gate.wait(PATIENCE)

    jtask_worker(work, concurrency=10)
    assert create_limit(Limit("tag:web", 1)) is True
    assert create_limit(Limit("tag:web", 5)) is False
    with tags("web"):
        runs = [work.delay(number) for number in range(6)]
    eventually(lambda: watched.now == 1)
    eventually(lambda: sum("tag:web" in str(run.state.message) for run in runs) == 5)
    update_limit(Limit("tag:web", 3))
    eventually(lambda: watched.now == 3)
    assert taken("tag:web") == 3
    assert remove_limit("tag:web") is True
    eventually(lambda: watched.now == 6)
    gate.set()
    finish(runs)
    assert remove_limit("tag:web") is False
    with pytest.raises(LimitNotFound, match="tag:web"):
        update_limit(Limit("tag:web", 3))


def test_slots_come_back_however_an_attempt_ends(
    watched: Watched, jtask_worker: StartWorker
) -> None:
    @task(limit=1, retries=1, retry_delay_seconds=0.6)
    def fails(number: int) -> None:
        watched.execute((number, runtime.attempt))
        raise ValueError(number)

    jtask_worker(fails, concurrency=10)
    runs = [fails.delay(number) for number in range(4)]
    for run in runs:
        assert run.wait(PATIENCE)
    assert watched.most == 1
    assert sorted(watched.began) == [(n, attempt) for n in range(4) for attempt in (1, 2)]
    # The wait for a retry holds no slot.
    assert [attempt for _, attempt in watched.began][:4] == [1] * 4


@pytest.fixture
def long_lease(jtask_broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a slot that is forgotten stay taken for longer than any test."""
    del jtask_broker  # it is there by now
    monkeypatch.setattr(get_client().slots, "_lease", 1000.0)


class OneAtATime:
    """A task of which one run holds the only slot, and others are parked."""

    def __init__(self, start_worker: StartWorker) -> None:
        self.gates = [threading.Event() for _ in range(3)]
        self.began: list[int] = []

        @task(name="one at a time", queue="scarce", tags=["scarce"])
        def work(number: int) -> None:
            self.began.append(number)
            assert self.gates[number].wait(PATIENCE)

        create_limit(Limit("tag:scarce", 1))
        start_worker(work, concurrency=10)
        self.runs = [work.delay(0)]
        eventually(lambda: self.began)
        self.runs += [work.delay(number) for number in (1, 2)]
        eventually(lambda: all("tag:scarce" in str(run.state.message) for run in self.runs[1:]))

    def hand_on_while_paused(self) -> Run[Any]:
        """Let the first run end while its queue is paused; return the run that got its slot."""
        on_io(lambda broker: broker.queues.pause("scarce"))
        self.gates[0].set()
        self.runs[0].result(PATIENCE)
        woken = eventually(lambda: on_io(self._woken))
        return next(run for run in self.runs if run.run_id == woken)

    async def _woken(self, broker: Any) -> str | None:
        waiting = [run async for run in broker.queues.waiting("scarce")]
        return next((run.run_id for run in waiting if run.token is not None), None)


@pytest.mark.usefixtures("long_lease")
def test_a_run_that_is_cancelled_with_a_slot_in_hand_hands_it_on(
    jtask_worker: StartWorker,
) -> None:
    scarce = OneAtATime(jtask_worker)
    woken = scarce.hand_on_while_paused()
    assert woken.cancel().result is CancelResult.NEVER_STARTS
    for gate in scarce.gates:
        gate.set()
    on_io(lambda broker: broker.queues.resume("scarce"))
    last = next(run for run in scarce.runs[1:] if run is not woken)
    last.result(PATIENCE)
    eventually(lambda: taken("tag:scarce") == 0)


@pytest.mark.usefixtures("long_lease")
@pytest.mark.parametrize("key", [None, "one for all"])
def test_a_run_that_was_parked_as_it_was_sent_hands_its_slot_on_too(
    key: str | None, jtask_worker: StartWorker
) -> None:
    @task(limit=1, limit_key=key, queue="scarce")
    def limited(number: int) -> str:
        return runtime.waited_for

    jtask_worker(limited)
    on_io(lambda broker: broker.queues.pause("scarce"))
    first, second, _ = limited.delay_many([(number,) for number in range(3)])
    assert first.cancel().result is CancelResult.NEVER_STARTS
    on_io(lambda broker: broker.queues.resume("scarce"))
    assert second.result(PATIENCE) == "its turn"


def test_the_run_of_a_lost_worker_goes_on_without_a_complaint_about_its_key(
    jtask_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    @task(limit=1, limit_key="{number}", queue="scarce")
    def limited(number: int) -> int:
        return number

    monkeypatch.setenv("JTASK_LEASE", "1")
    get_settings.cache_clear()
    run = limited.delay(3)
    lose_workers("scarce", 1)
    jtask_worker(limited)
    assert run.result(PATIENCE) == 3
    assert "limit_key" not in caplog.text


@pytest.mark.usefixtures("long_lease")
def test_a_slot_of_a_limit_that_was_removed_meanwhile_is_handed_on(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(definitions, "_FRESH_SECONDS", 0.0)
    scarce = OneAtATime(jtask_worker)
    scarce.hand_on_while_paused()
    assert remove_limit("tag:scarce") is True
    on_io(lambda broker: broker.queues.resume("scarce"))
    eventually(lambda: len(scarce.began) == 3)
    assert taken("tag:scarce") == 0
    for gate in scarce.gates:
        gate.set()
    finish(scarce.runs)


@pytest.mark.parametrize("how", ["Cancelled", "TimedOut", "Crashed"])
def test_a_slot_comes_back_from_a_run_that_is_ended(how: str, jtask_worker: StartWorker) -> None:
    begun = threading.Event()

    @task(limit=1, tags=["web"], timeout_seconds=0.1 if how == "TimedOut" else None)
    async def work(number: int) -> int:
        if number == 0:
            begun.set()
            if how == "Crashed":
                raise SystemExit(3)
            await asyncio.sleep(PATIENCE)
        return number

    create_limit(Limit("tag:web", 1))
    jtask_worker(work)
    ended, next_one = work.delay(0), work.delay(1)
    assert begun.wait(PATIENCE)
    if how == "Cancelled":
        ended.cancel()
    assert ended.wait(PATIENCE)
    assert ended.state.name == how
    assert next_one.result(PATIENCE) == 1
    eventually(lambda: taken("tag:web") == 0)


def test_a_run_that_is_cancelled_while_it_waits_keeps_nobody_waiting(
    watched: Watched, jtask_worker: StartWorker
) -> None:
    gate = threading.Event()

    @task(limit=1)
    def work(number: int) -> None:
        watched.began.append(number)
        assert gate.wait(PATIENCE)

    jtask_worker(work)
    runs = [work.delay(number) for number in range(3)]
    eventually(lambda: watched.began)
    first = watched.began[0]  # they are asked at the same moment
    waiting = [run for number, run in enumerate(runs) if number != first]
    eventually(lambda: all("the limit of" in str(run.state.message) for run in waiting))
    waiting[0].cancel()
    assert waiting[0].wait(PATIENCE)
    gate.set()
    finish([runs[first], waiting[1]])
    assert len(watched.began) == 2


def test_a_run_needs_a_slot_of_each_of_its_tags_that_has_a_limit(
    watched: Watched, jtask_worker: StartWorker
) -> None:
    gate = threading.Event()

    @task(tags=["web", "db", "without a limit"])
    def work() -> None:
        with watched:
            assert gate.wait(PATIENCE)

    create_limit(Limit("tag:web", 1))
    create_limit(Limit("tag:db", 3))
    jtask_worker(work, concurrency=10)
    runs = [work.delay() for _ in range(4)]
    eventually(lambda: sum("tag:web" in str(run.state.message) for run in runs) == 3)
    assert watched.now == 1
    remove_limit("tag:web")
    eventually(lambda: sum("tag:db" in str(run.state.message) for run in runs) == 1)
    eventually(lambda: watched.now == 3)  # those that have a slot begin a moment later
    gate.set()
    finish(runs)
    assert (watched.most, taken("tag:web"), taken("tag:db")) == (3, 0, 0)


def test_a_limit_of_0_lets_nothing_start_until_it_is_raised(
    watched: Watched, jtask_worker: StartWorker
) -> None:
    @task(tags=["web"])
    def work() -> None:
        watched.execute(1, 0)

    create_limit(Limit("tag:web", 0))
    jtask_worker(work)
    runs = [work.delay() for _ in range(3)]
    eventually(lambda: all("'tag:web' is 0" in str(run.state.message) for run in runs))
    assert watched.began == []
    update_limit(Limit("tag:web", 1))
    finish(runs)
    assert watched.most == 1


def test_a_hit_needs_no_slot_of_a_limit(jtask_worker: StartWorker) -> None:
    begun, gate = threading.Event(), threading.Event()

    @task(limit=1, tags=["web"], cache_policy=INPUTS)
    def work(number: int) -> int:
        if number == 2:
            begun.set()
            assert gate.wait(PATIENCE)
        return number

    create_limit(Limit("tag:web", 1))
    jtask_worker(work)
    assert work.delay(1).result(PATIENCE) == 1
    slow = work.delay(2)
    assert begun.wait(PATIENCE)
    hit = work.delay(1)
    assert (hit.result(PATIENCE), hit.state.name) == (1, "Cached")
    gate.set()
    assert slow.result(PATIENCE) == 2


def test_many_asynchronous_runs_and_blocks_at_their_limits_come_to_an_end(
    watched: Watched, jtask_worker: StartWorker
) -> None:
    @task(limit=3)
    async def work(number: int) -> int:
        # More runs than slots in here too, each with a slot of the one outside.
        async with concurrency("db"):
            with watched:
                await asyncio.sleep(0)
        return number

    create_limit(Limit("db", 2))
    jtask_worker(work, concurrency=50)
    runs = [work.delay(number) for number in range(50)]
    assert [run.result(PATIENCE) for run in runs] == list(range(50))
    assert watched.most <= 2
    assert taken("db") == 0


def test_a_direct_call_that_would_wait_for_its_own_callers_is_refused(
    watched: Watched, jtask_worker: StartWorker
) -> None:
    @task(limit=2)
    def count_down(number: int) -> int:
        return count_down(number - 1) if number else 0

    assert count_down(1) == 0
    with pytest.raises(RunRefused, match=r"'count_down' is 2, .* call the function itself"):
        count_down(2)
    jtask_worker(count_down)
    assert count_down.delay(1).result(PATIENCE) == 0
    assert isinstance(count_down.delay(2).exception(PATIENCE), RunRefused)
    assert count_down.delay(1).result(PATIENCE) == 0


def test_a_slot_is_renewed_while_a_task_blocks_its_own_event_loop(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JTASK_LEASE", "1")
    get_settings.cache_clear()
    begun, gate = threading.Event(), threading.Event()

    @task(tags=["web"])
    async def work() -> int:
        begun.set()
        assert gate.wait(PATIENCE)
        return 7

    create_limit(Limit("tag:web", 1))
    jtask_worker(work)
    run = work.delay()
    assert begun.wait(PATIENCE)
    (first,) = holders_of("tag:web")
    eventually(lambda: holders_of("tag:web")[0].until > first.until + 2 * get_settings().lease)
    gate.set()
    assert run.result(PATIENCE) == 7


def test_a_block_of_code_holds_slots_wherever_it_is(watched: Watched) -> None:
    create_limit(Limit("db", 2))

    def use(number: int) -> None:
        with concurrency("db"):
            watched.execute(number, 0.05)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (watched.most, len(watched.began)) == (2, 10)
    assert taken("db") == 0


def test_a_block_of_an_event_loop_waits_without_blocking_it() -> None:
    create_limit(Limit("db", 1))

    async def main() -> list[str]:
        seen: list[str] = []

        async def use(name: str) -> None:
            async with concurrency("db"):
                seen.append(f"{name} in")
                await asyncio.sleep(0.05)
                seen.append(f"{name} out")

        await asyncio.gather(use("one"), use("two"))
        return seen

    seen = asyncio.run(main())
    assert [seen[0][:3], seen[2][:3]] == [seen[1][:3], seen[3][:3]]


def test_a_block_whose_slot_cannot_be_given_back_has_done_its_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create_limit(Limit("db", 1))
    slots = get_client().slots

    async def refuse(*_: object, **__: object) -> None:
        raise BrokerUnavailable("there is no leader")

    with monkeypatch.context() as patch, concurrency("db"):
        patch.setattr(slots, "give_back", refuse)
    assert taken("db") == 1  # until its lease is over


def test_one_object_may_guard_several_blocks_at_once(watched: Watched) -> None:
    create_limit(Limit("db", 2))
    guard = concurrency("db")
    together = threading.Barrier(2)

    def use() -> None:
        with guard:
            together.wait(PATIENCE)
            watched.execute("one of two", 0)

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(watched.began) == 2
    assert taken("db") == 0


def test_several_slots_of_several_limits_are_taken_together_or_not_at_all() -> None:
    create_limit(Limit("db", 3))
    create_limit(Limit("disk", 2))
    with concurrency(["disk", "db"], occupy=2):
        assert (taken("db"), taken("disk")) == (2, 2)
        with pytest.raises(LimitTimeout, match="'db'"), concurrency("db", 2, timeout_seconds=0.1):
            pass
        assert taken("db") == 2
        with concurrency("db"):
            assert taken("db") == 3
    assert (taken("db"), taken("disk")) == (0, 0)
    with pytest.raises(ValueError, match="3 slots of 'disk' can never be had: it has 2"):
        concurrency("disk", 3).__enter__()
    with pytest.raises(ValueError, match="occupy"):
        concurrency("disk", 0)


def test_what_has_no_limit_goes_on_with_a_warning_unless_it_is_strict(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jtask_limits.wanted_slots, "_unknown", RateLimitedLog(60.0))
    with concurrency("nothing of this name"):
        pass
    assert "there is no limit 'nothing of this name'" in caplog.text
    with pytest.raises(LimitNotFound), concurrency("nothing of this name", strict=True):
        pass
    with pytest.raises(LimitNotFound):
        rate_limit("nothing of this name", strict=True)


def test_no_more_begin_within_a_period_than_a_rate_says() -> None:
    create_limit(Limit("api", 5, per=1.0))
    began: list[float] = []
    for _ in range(12):
        rate_limit("api")
        began.append(time.monotonic())
    # Within the broker's accuracy: it frees what is over a moment later, never sooner.
    assert all(began[n + 5] - began[n] >= 0.9 for n in range(7))

    async def many() -> None:
        await asyncio.gather(*(arate_limit("api") for _ in range(5)))

    asyncio.run(many())
    create_limit(Limit("slow", 1, per=60.0))
    rate_limit("slow")
    with pytest.raises(LimitTimeout, match=r"'slow' was free within 0.1 seconds"):
        rate_limit("slow", timeout_seconds=0.1)
    create_limit(Limit("db", 1))
    with pytest.raises(ValueError, match="not a rate"):
        rate_limit("db")
    with pytest.raises(ValueError, match="is a rate"):
        concurrency("api").__enter__()


def test_a_rate_of_a_tag_is_refused_because_no_run_would_wait_for_it() -> None:
    create_limit(Limit("tag:web", 5))
    for change in (create_limit, update_limit):
        with pytest.raises(ValueError, match=r"give the rate another name, and call rate_limit"):
            change(Limit("tag:web", 5, per=60.0))


def test_a_block_that_waits_is_woken_by_a_run_that_ends(jtask_worker: StartWorker) -> None:
    gate = threading.Event()

    @task(tags=["web"])
    def work() -> None:
        assert gate.wait(PATIENCE)

    create_limit(Limit("tag:web", 1))
    jtask_worker(work)
    run = work.delay()
    eventually(lambda: taken("tag:web") == 1)
    entered = threading.Event()

    def use() -> None:
        with concurrency("tag:web"):
            entered.set()

    thread = threading.Thread(target=use)
    thread.start()
    gate.set()
    run.result(PATIENCE)
    assert entered.wait(PATIENCE)
    thread.join()


@pytest.mark.parametrize(
    "options",
    [{"limit": 0}, {"limit": 1.5}, {"limit": True}, {"limit_key": 3}, {"limit_key": len}],
)
def test_what_is_no_limit_is_refused_where_the_task_is_defined(options: dict[str, Any]) -> None:
    with pytest.raises(TaskDefinitionError, match="limit"):
        task(lambda: None, **options)


def test_nothing_is_left_parked_where_a_limit_was_never_reached(
    watched: Watched, jtask_worker: StartWorker
) -> None:
    @task(limit=100)
    def work(number: int) -> None:
        watched.execute(number, 0)

    jtask_worker(work, concurrency=10)
    finish([work.delay(number) for number in range(50)])

    async def parked(broker: Any) -> int:
        return sum([1 async for _ in broker.queues.waiting()])

    async def none_is_left(broker: Any) -> None:
        async def nothing() -> bool:
            return await parked(broker) == 0

        await until(nothing)

    on_io(none_is_left)


@pytest.fixture(autouse=True)
def _with_the_plugin() -> Iterator[None]:
    plugins = get_plugins()
    if "limits" in plugins.names:
        yield
        return
    plugins.add(jtask_limits)
    yield
    plugins.remove(jtask_limits)
