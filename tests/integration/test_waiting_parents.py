"""Runs that wait for runs: their slot is free meanwhile, whatever the number of slots."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from in_process import StartWorker, on_each_broker, on_io
from waiting import PATIENCE, eventually

import jtask
from jtask import StateName, get_run, task
from jtask.contract import Broker
from jtask.futures import as_completed, as_completed_async, wait
from jtask.settings import get_settings
from jtask.testing import RunningWorker

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


@task(queue="waiting")
def nest(depth: int) -> int:
    return depth and 1 + nest.delay(depth - 1).result(PATIENCE)


@task(queue="waiting")
async def nest_later(depth: int) -> int:
    return depth and 1 + await nest_later.delay(depth - 1)


@task(queue="waiting")
def nest_by_turns(depth: int) -> int:
    return depth and 1 + nest_by_turns_later.delay(depth - 1).result(PATIENCE)


@task(queue="waiting")
async def nest_by_turns_later(depth: int) -> int:
    return depth and 1 + await nest_by_turns.delay(depth - 1)


@task(queue="waiting")
def nest_submitted(depth: int) -> int:
    return depth and 1 + delay_and_wait.submit(depth).result(PATIENCE)


@task
def delay_and_wait(depth: int) -> int:
    return nest_submitted.delay(depth - 1).result(PATIENCE)


NESTED = [nest, nest_later, nest_by_turns, nest_by_turns_later, nest_submitted]


@pytest.mark.parametrize("nested", NESTED, ids=lambda nested: nested.name)
def test_runs_that_wait_for_runs_end_at_any_depth_with_one_slot(
    nested: Any, jtask_worker: StartWorker
) -> None:
    jtask_worker(*NESTED, concurrency=1)
    assert nested.delay(8).result(PATIENCE) == 8


# --- the ways to wait ---------------------------------------------------------------------------


@task(queue="ways")
def double(n: int) -> int:
    return 2 * n


@task(queue="ways")
def by_wait(count: int) -> int:
    runs = [double.delay(n) for n in range(count)]
    assert not wait(runs, timeout=PATIENCE).not_done
    return sum(run.result() for run in runs)


@task(queue="ways")
def as_they_end(count: int) -> int:
    return sum(run.result() for run in as_completed([double.delay(n) for n in range(count)]))


@task(queue="ways")
async def as_they_end_later(count: int) -> int:
    runs = [await double.adelay(n) for n in range(count)]
    return sum([await run async for run in as_completed_async(runs)])


@task(queue="ways")
async def at_the_same_time(count: int) -> int:
    return sum(await asyncio.gather(*(double.delay(n) for n in range(count))))


@task(queue="ways")
async def in_another_thread(count: int) -> int:
    runs = double.map(range(count), deferred=True)
    return sum(await asyncio.to_thread(runs.result, PATIENCE))


@task(queue="ways")
def by_an_argument(count: int) -> int:
    @task
    def total(parts: list[int]) -> int:
        return sum(parts)

    return total([double.delay(n).as_value for n in range(count)])


@task(queue="ways")
def doubles(count: int) -> Iterator[int]:
    for n in range(count):
        yield 2 * n


@task(queue="ways")
def from_a_stream(count: int) -> int:
    return sum(doubles.delay(count).stream())


@task(queue="ways")
async def from_a_stream_later(count: int) -> int:
    return sum([n async for n in doubles.delay(count).stream()])


WAYS = [
    by_wait,
    as_they_end,
    as_they_end_later,
    at_the_same_time,
    in_another_thread,
    by_an_argument,
    from_a_stream,
    from_a_stream_later,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_every_way_to_wait_frees_the_slot(way: Any, jtask_worker: StartWorker) -> None:
    jtask_worker(double, doubles, *WAYS, concurrency=1)
    assert way.delay(5).result(PATIENCE) == 20


# --- many parents -------------------------------------------------------------------------------


@task(queue="family")
def parent(n: int) -> int:
    return 1 + child.delay(n).result(PATIENCE)


@task(queue="family")
async def parent_later(n: int) -> int:
    return 1 + await child.delay(n)


@task(queue="family")
def child(n: int) -> int:
    return n


@pytest.mark.parametrize("kind", [parent, parent_later], ids=lambda kind: kind.name)
@pytest.mark.parametrize(("parents", "slots"), [(3, 3), (40, 2)])
def test_parents_that_take_all_slots_end(
    kind: Any, parents: int, slots: int, jtask_worker: StartWorker
) -> None:
    # All of them before the first child.
    runs = kind.map(range(parents), deferred=True)
    jtask_worker(kind, child, concurrency=slots)
    assert runs.result(PATIENCE) == [n + 1 for n in range(parents)]


@pytest.mark.parametrize("limit", [1, 5])
def test_parents_end_however_few_may_wait_at_a_time(
    limit: int, jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JTASK_MAX_WAITING", str(limit))
    get_settings.cache_clear()
    runs = parent.map(range(60), deferred=True)
    deep = nest.delay(5)
    jtask_worker(parent, child, nest, concurrency=2)
    assert runs.result(PATIENCE) == list(range(1, 61))
    assert deep.result(PATIENCE) == 5


@task(queue="there")
def ask_there(n: int) -> int:
    return answer_here.delay(n).result(PATIENCE)


@task(queue="here")
def ask_here(n: int) -> int:
    return ask_there.delay(n).result(PATIENCE)


@task(queue="here")
def answer_here(n: int) -> int:
    return n


def test_parents_end_whose_children_in_another_worker_wait_for_this_one(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JTASK_MAX_WAITING", "1")
    get_settings.cache_clear()
    jtask_worker(ask_here, answer_here, concurrency=1)
    jtask_worker(ask_there, concurrency=1)
    assert ask_here.map(range(3), deferred=True).result(PATIENCE) == [0, 1, 2]


class Gate:
    """What holds runs, and counts them."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.begun = self.executing = self.most = self.open = 0

    def enter(self) -> None:
        with self.changed:
            self.begun += 1
            self.executing += 1
            self.most = max(self.most, self.executing)
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.open > 0, PATIENCE)
            self.open -= 1
            self.executing -= 1

    def let_end(self, count: int) -> None:
        with self.changed:
            self.open += count
            self.changed.notify_all()

    def until_begun(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.begun >= count, PATIENCE)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    monkeypatch.setattr(_gates, "gate", gate)
    return gate


class _gates:
    gate = Gate()


@task(queue="gate")
def pass_gate() -> None:
    _gates.gate.enter()


@task(queue="gate")
async def pass_gate_later() -> None:
    await asyncio.to_thread(_gates.gate.enter)


GATES = pytest.mark.parametrize("held", [pass_gate, pass_gate_later], ids=lambda held: held.name)


@GATES
def test_no_more_than_the_slots_execute_once_nobody_waits(
    held: Any, gate: Gate, jtask_worker: StartWorker
) -> None:
    worker = jtask_worker(parent, parent_later, child, held, concurrency=2, prefetch=0)
    runs = [*parent.map(range(20), deferred=True), *parent_later.map(range(20), deferred=True)]
    assert [run.result(PATIENCE) for run in runs] == [*range(1, 21), *range(1, 21)]
    eventually(lambda: not in_hand(worker))
    more = [held.delay() for _ in range(8)]
    for count in range(2, 9):
        gate.until_begun(count)
        gate.let_end(1)
    gate.let_end(1)
    assert all(run.wait(PATIENCE) for run in more)
    assert gate.most == 2


def in_hand(worker: RunningWorker) -> list[str]:
    async def held(_: Broker) -> list[str]:
        return [run.run_id for run in worker.info.worker.held()]

    return list(on_io(held))


# --- how a wait ends early ----------------------------------------------------------------------


@task(queue="waiters")
def wait_for_gate() -> None:
    pass_gate.delay().result()


@task(queue="waiters")
async def wait_for_gate_later() -> None:
    await pass_gate.delay()


WAITERS = pytest.mark.parametrize(
    "waiter", [wait_for_gate, wait_for_gate_later], ids=lambda waiter: waiter.name
)


@WAITERS
def test_a_parent_that_is_cancelled_while_it_waits_leaves_the_slots_as_they_were(
    waiter: Any, gate: Gate, jtask_worker: StartWorker
) -> None:
    jtask_worker(waiter, pass_gate, child, concurrency=1, prefetch=0)
    run = waiter.delay()
    gate.until_begun(1)
    run.cancel()
    assert run.wait(PATIENCE)
    assert run.state.name is StateName.CANCELLED
    rest = [pass_gate.delay() for _ in range(3)]
    gate.let_end(4)
    assert all(one.wait(PATIENCE) for one in rest)
    assert gate.most == 1


@WAITERS
def test_a_parent_whose_time_is_over_while_it_waits_leaves_the_slots_as_they_were(
    waiter: Any, gate: Gate, jtask_worker: StartWorker
) -> None:
    limited = waiter.with_options(timeout_seconds=0.2)
    jtask_worker(waiter, pass_gate, child, concurrency=1, prefetch=0)
    run = limited.delay()
    assert run.wait(PATIENCE)
    assert run.state.name is StateName.TIMED_OUT
    rest = [pass_gate.delay() for _ in range(3)]
    gate.let_end(4)
    assert all(one.wait(PATIENCE) for one in rest)
    assert gate.most == 1


@WAITERS
def test_a_worker_that_stops_hands_its_waiting_parents_back(
    waiter: Any, gate: Gate, jtask_worker: StartWorker
) -> None:
    worker = jtask_worker(waiter, pass_gate, concurrency=1, prefetch=0)
    runs = [waiter.delay() for _ in range(3)]
    gate.until_begun(1)
    assert worker.stop(0.0) >= 1
    gate.let_end(100)
    jtask_worker(waiter, pass_gate, concurrency=1)
    assert all(run.wait(PATIENCE) for run in runs)
    assert {run.state.name for run in runs} == {StateName.COMPLETED}


def test_what_becomes_of_a_function_that_its_worker_has_left_behind_is_told_nobody(
    gate: Gate, jtask_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    left = threading.Event()

    @task(on_failure=[lambda _task, _run, state: told.append(state.name)])
    def wait_and_leave() -> None:
        try:
            pass_gate.delay().result(PATIENCE)
        finally:
            left.set()

    worker = jtask_worker(wait_and_leave, pass_gate, concurrency=1, prefetch=0)
    run = wait_and_leave.delay()
    gate.until_begun(1)
    assert worker.stop(0.0) >= 1
    jtask.close()  # as the process of a worker does
    assert left.wait(PATIENCE)
    gate.let_end(100)
    jtask_worker(wait_and_leave, pass_gate, concurrency=1)
    assert get_run(run.run_id).wait(PATIENCE)
    assert get_run(run.run_id).state.name is StateName.COMPLETED
    assert not told
    assert "Failed" not in caplog.text


@WAITERS
def test_a_worker_that_stops_lets_waiting_parents_end(
    waiter: Any, gate: Gate, jtask_worker: StartWorker
) -> None:
    worker = jtask_worker(waiter, pass_gate, concurrency=1, prefetch=0)
    run = waiter.delay()
    gate.until_begun(1)
    gate.let_end(1)
    assert worker.stop(PATIENCE) == 0
    assert run.wait(PATIENCE)
