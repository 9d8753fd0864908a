"""Runs of this process among what runs of the background are called with, on each broker."""

import asyncio
import dataclasses
import threading
from typing import Any

import pytest
from in_process import StartWorker, on_each_broker

from jtask import allow_failure, task, unmapped
from jtask.annotations import quote
from jtask.errors import ArgumentError, RunNotReady
from jtask.states import Completed, Failed, State, StateName
from jtask.task_runners import BackgroundTaskRunner

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


@task
def double(x: int) -> int:
    return 2 * x


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def describe(what: list[int | Exception]) -> list[str]:
    return [str(one) for one in what]


@task
def fail(x: int) -> int:
    raise ValueError(f"no {x}")


def test_the_value_of_a_submitted_run_goes_along(jtask_worker: StartWorker) -> None:
    jtask_worker(add, double)
    background = double.delay(4)
    run = add.delay(double.submit(3).as_value, background.as_value)
    assert run.result() == 14
    assert add.delay_many([(double.submit(1), 1), {"a": 2, "b": double.submit(2)}])[1].result() == 6


def test_a_submitted_run_that_failed_refuses_the_call(jtask_worker: StartWorker) -> None:
    jtask_worker(double)
    broken = fail.submit(1)
    with pytest.raises(RunNotReady, match=f"'double' was not enqueued.*{broken.run_id}.*no 1"):
        double.delay(broken.as_value)
    with pytest.raises(RunNotReady, match="'double' was not enqueued"):
        double.apply_async((1,), wait_for=[broken])
    assert double.apply_async((1,), wait_for=[allow_failure(broken)]).result() == 2
    assert double.apply_async((1,), wait_for=(double.submit(1),)).result() == 2


def test_the_exception_of_a_submitted_run_may_go_along(jtask_worker: StartWorker) -> None:
    jtask_worker(describe)

    @task(serializer="cloudpickle")
    def pickled(what: object) -> str:
        return repr(what)

    jtask_worker(pickled)
    run = pickled.delay(allow_failure([double.submit(2), fail.submit(1)]))
    assert run.result() == "[4, ValueError('no 1')]"


def test_a_coroutine_is_told_to_await_what_is_not_over(jtask_worker: StartWorker) -> None:
    jtask_worker(double)
    may_end = threading.Event()

    @task
    def slow() -> int:
        may_end.wait()
        return 5

    async def main() -> int:
        waiting = slow.submit()
        with pytest.raises(ArgumentError, match=f"{waiting.run_id}.*await it first"):
            await double.adelay(waiting.as_value)
        may_end.set()
        await waiting
        run = await double.adelay(waiting.as_value)
        return await run

    assert asyncio.run(main()) == 10


def test_a_deferred_map_waits_for_other_runs(jtask_worker: StartWorker) -> None:
    jtask_worker(add, fail)
    broken = fail.delay(1)
    held = add.map([1, 2], unmapped(10), deferred=True, wait_for=[broken])
    states = add.map([1], b=1, deferred=True, wait_for=[broken], return_state=True)
    assert [run.exception() is not None for run in held] == [True, True]
    assert [state.name for state in states] == [StateName.NOT_READY]
    assert add.map([1, 2], 10, deferred=True, wait_for=[allow_failure(broken)]).result() == [11, 12]


def test_what_goes_to_workers_waits_for_other_runs_too(jtask_worker: StartWorker) -> None:
    jtask_worker(add, double, fail)
    with BackgroundTaskRunner():
        first = double.submit(2)
        assert add.submit(first.as_value, 1, wait_for=[double.submit(1)]).result() == 5
        broken = fail.submit(1)
        with pytest.raises(RunNotReady):
            add.submit(1, 1, wait_for=[broken]).result()


@dataclasses.dataclass
class Pair:
    left: int
    right: list[int]


@task
def total(pair: Pair, more: dict[str, int]) -> int:
    return pair.left + sum(pair.right) + sum(more.values())


@task
def read_states(states: list[State]) -> list[str]:
    return [one.message for one in states]


def test_a_state_stands_for_its_value_however_deep_inside(jtask_worker: StartWorker) -> None:
    jtask_worker(total, add)
    two: Any = double(1, return_state=True)
    three: Any = add.delay(1, 2)
    three.wait()
    pair = Pair(two, [three.state, 1])
    more: Any = {"a": Completed(data=10)}
    assert total.delay(pair, more).result() == 2 + 3 + 1 + 10
    runs = add.delay_many([(two, 1), {"a": 1, "b": two}])
    assert [run.result() for run in runs] == [3, 3]
    assert add.map([two, two], 1, deferred=True).result() == [3, 3]


def test_the_state_of_a_run_that_did_not_complete_refuses_the_call(
    jtask_worker: StartWorker,
) -> None:
    jtask_worker(describe)
    failed: Any = fail(1, return_state=True)
    with pytest.raises(RunNotReady, match=r"'double' was not enqueued.*is Failed: .*no 1"):
        double.delay(failed)
    with pytest.raises(RunNotReady, match="'describe' was not enqueued"):
        describe.delay([1, failed])
    with pytest.raises(RunNotReady, match="is Failed"):
        double.apply_async((1,), wait_for=[failed])
    waiting: Any = double.apply_async((1,), countdown=3600).state
    with pytest.raises(RunNotReady, match=r"is Scheduled: .*it is not final"):
        double.delay(waiting)


def test_the_exception_of_a_state_may_go_along(jtask_worker: StartWorker) -> None:
    @task(serializer="cloudpickle")
    def pickled(what: object) -> str:
        return repr(what)

    jtask_worker(pickled)
    run = pickled.delay(allow_failure([Completed(data=4), Failed(data=ValueError("no 1"))]))
    assert run.result() == "[4, ValueError('no 1')]"


def test_a_state_goes_as_it_is_where_the_annotation_wants_one(jtask_worker: StartWorker) -> None:
    jtask_worker(read_states)
    states: Any = [Completed(data="a", message="done"), Completed(data="b")]
    assert read_states.delay(states).result() == ["done", ""]
    assert read_states.delay(quote(states)).result() == ["done", ""]
