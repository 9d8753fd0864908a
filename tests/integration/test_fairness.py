"""Tenants take turns on a queue, and no run of theirs is left parked."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from in_process import StartWorker, on_each_broker, on_io
from waiting import PATIENCE, eventually

from jtask import Run, task
from jtask.client import get_client
from jtask.errors import BrokerUnavailable, TaskDefinitionError
from jtask.settings import get_settings
from jtask_fairness.tenants import Tenants

pytestmark = pytest.mark.usefixtures("jtask_broker", "small_window")
jtask_broker = on_each_broker
WINDOW = 10


@pytest.fixture
def small_window(monkeypatch: pytest.MonkeyPatch, jtask_broker: Any) -> Iterator[None]:
    monkeypatch.setenv("JTASK_FAIR_WINDOW", str(WINDOW))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


class Starts:
    """The order in which runs start, held up until they may."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.go_on = threading.Event()

    def add(self, tenant: str) -> None:
        self.seen.append(tenant)
        assert self.go_on.wait(PATIENCE)


@pytest.fixture
def starts() -> Iterator[Starts]:
    found = Starts()
    yield found
    found.go_on.set()


def fair(starts: Starts) -> Any:
    @task(fair_key="{tenant}")
    def work(tenant: str) -> None:
        starts.add(tenant)

    return work


def finish(runs: list[Run[Any]]) -> None:
    for run in runs:
        run.result(PATIENCE)


def parked(queue: str, tenant: str) -> int:
    async def count(broker: Any) -> int:
        return await broker.runs.parked(Tenants(broker, queue).key(tenant))

    found: int = on_io(count)
    return found


def tenants(queue: str) -> list[str]:
    async def listed(broker: Any) -> list[str]:
        return await Tenants(broker, queue).list()

    found: list[str] = on_io(listed)
    return sorted(found)


@pytest.mark.parametrize("bulk", [True, False])
def test_one_run_does_not_wait_behind_the_flood_of_another_tenant(
    bulk: bool, starts: Starts, jtask_worker: StartWorker
) -> None:
    work = fair(starts)
    if bulk:
        flood = work.delay_many([("flood",)] * 200)
    else:
        flood = [work.delay("flood") for _ in range(200)]
    assert parked(work.queue, "flood") >= 200 - WINDOW - 1
    jtask_worker(work, concurrency=1)
    eventually(lambda: starts.seen)
    single = work.delay("single")
    starts.go_on.set()
    single.result(PATIENCE)
    assert starts.seen.index("single") <= WINDOW + 3
    finish(flood)
    assert starts.seen.count("flood") == 200


def test_tenants_with_many_runs_get_equal_shares(starts: Starts, jtask_worker: StartWorker) -> None:
    work = fair(starts)
    runs = [run for one in "abc" for run in work.delay_many([(one,)] * 60)]
    starts.go_on.set()
    jtask_worker(work, concurrency=1)
    finish(runs)
    begun = starts.seen[: WINDOW + 90]
    # After the window, which the first one had filled.
    shares = [begun[WINDOW + 3 :].count(one) for one in "abc"]
    assert max(shares) - min(shares) <= 6, shares


def test_nothing_is_left_parked_and_no_tenant_is_remembered(
    starts: Starts, jtask_worker: StartWorker
) -> None:
    work = fair(starts)
    starts.go_on.set()
    for _ in range(2):
        jtask_worker(work, concurrency=4)
    finish([work.delay(f"tenant-{number % 7}") for number in range(140)])
    assert len(starts.seen) == 140
    eventually(lambda: tenants(work.queue) == [])
    assert [parked(work.queue, f"tenant-{number}") for number in range(7)] == [0] * 7


def test_what_was_to_be_woken_by_a_run_that_was_cancelled_is_woken_all_the_same(
    starts: Starts, jtask_worker: StartWorker
) -> None:
    work = fair(starts)
    runs = work.delay_many([("one",)] * 40)
    on_the_queue = 40 - parked(work.queue, "one")
    for run in runs[:on_the_queue]:
        run.cancel()
    starts.go_on.set()
    jtask_worker(work, concurrency=2)
    finish(runs[on_the_queue:])


class NobodyIsWoken:
    """Queues on which a stream elects its leader for long."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def wake(self, *args: object, **options: object) -> int:
        raise BrokerUnavailable("it has no leader")


def test_a_call_whose_run_is_stored_does_not_fail_because_none_can_be_woken(
    starts: Starts, jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = fair(starts)
    starts.go_on.set()
    runs = [work.delay("a")]
    broker = get_client().broker
    with monkeypatch.context() as patch:
        patch.setattr(broker, "runs", NobodyIsWoken(broker.runs))
        runs.append(work.delay("a"))
    jtask_worker(work)
    finish(runs)


def test_a_call_without_a_key_waits_for_no_turn(starts: Starts, jtask_worker: StartWorker) -> None:
    def nobody(call: Any, parameters: dict[str, Any]) -> None:
        return None

    work = fair(starts)
    runs = work.with_options(fair_key=nobody).delay_many([("x",)] * 30)
    assert tenants(work.queue) == []
    starts.go_on.set()
    jtask_worker(work, concurrency=5)
    finish(runs)


def test_a_key_that_cannot_be_made_is_refused_at_the_call(starts: Starts) -> None:
    work = fair(starts).with_options(fair_key="{tenant.id}")
    with pytest.raises(TaskDefinitionError, match="its fair_key makes no key: AttributeError"):
        work.delay("x")
    with pytest.raises(TaskDefinitionError, match="fair_key"):
        task(lambda: None, fair_key=3)  # type: ignore[call-overload]


@pytest.mark.parametrize("tenant", ["", "é ☃ *", "a.b", ">", "x" * 500, "{0}"])
def test_a_tenant_may_have_any_name(tenant: str, starts: Starts, jtask_worker: StartWorker) -> None:
    work = fair(starts)
    runs = work.with_options(fair_key=lambda context, parameters: tenant).delay_many([("x",)] * 25)
    starts.go_on.set()
    jtask_worker(work, concurrency=5)
    finish(runs)
