"""Flows: tasks that are the parents of other runs."""

import asyncio
from typing import Any

import pytest
from in_process import StartWorker, on_each_broker

from jtask import StateName, flow, get_run, runtime, task
from jtask.cache_policies import FLOW_PARAMETERS, INPUTS, RUN_ID
from jtask.client import get_client
from jtask.errors import ArgumentError
from jtask.flow_runs import FlowRun, flow_run_of

jtask_broker = on_each_broker
seen: list[tuple[str | None, FlowRun | None]] = []


def look() -> tuple[str | None, FlowRun | None]:
    seen.append((runtime.parent_id, flow_run_of(runtime.current_run())))
    return seen[-1]


@task
def step(number: int) -> int:
    look()
    return number * 2


@task
def nested_step(number: int) -> int:
    return step(number)


@flow
def doubling(number: int, extra: int = 1) -> tuple[str, int]:
    return runtime.run_id, nested_step(number) + extra


@flow(name="outer")
def surrounding(number: int) -> tuple[str, tuple[str, int]]:
    return runtime.run_id, doubling(number)


@flow
def deferring(number: int) -> tuple[str, str]:
    return runtime.run_id, step.delay(number).run_id


@flow
async def asynchronous(number: int) -> int:
    await asyncio.sleep(0)
    return step(number)


@pytest.fixture
def recorded(jtask_broker: str) -> None:
    get_client()


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


def test_a_flow_is_called_like_the_function_it_is() -> None:
    assert doubling(4)[1] == 9
    assert asyncio.run(asynchronous(4)) == 8


def test_the_runs_that_a_flow_calls_know_it_however_deep() -> None:
    flow_id, _ = doubling(4)
    [(parent, flow_run)] = seen
    assert parent not in (None, flow_id)
    assert flow_run == FlowRun(flow_id, "doubling", {"number": 4, "extra": 1})


def test_a_run_of_a_subflow_is_part_of_the_innermost_flow() -> None:
    outer_id, (inner_id, _) = surrounding(4)
    assert outer_id != inner_id
    flow_run = seen[0][1]
    assert flow_run is not None
    assert flow_run.id == inner_id


def test_outside_of_flows_there_is_no_flow_run() -> None:
    step(1)
    assert seen == [(None, None)]


@pytest.mark.parametrize("number", ["4", 4.0])
def test_the_parameters_of_a_flow_are_converted_by_its_annotations(number: Any) -> None:
    assert doubling(number)[1] == 9


def test_parameters_that_do_not_fit_are_refused_by_name() -> None:
    with pytest.raises(ArgumentError, match=r"'doubling'.*number.*integer.*validate_parameters"):
        doubling("four")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_flow_that_does_not_validate_gets_what_it_was_given() -> None:
    @flow(validate_parameters=False)
    def trusting(number: int) -> str:
        return type(number).__name__

    assert trusting("4") == "str"  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_task_may_validate_its_parameters_too() -> None:
    @task(validate_parameters=True)
    def strict(number: int) -> str:
        return type(number).__name__

    assert strict("4") == "int"  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_method_can_be_a_flow_that_validates() -> None:
    class Shop:
        @flow
        def double(self, number: int) -> int:
            return number * 2

    assert Shop().double("4") == 8  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_flow_is_retried_as_a_whole() -> None:
    attempts: list[int] = []

    @flow(retries=2)
    def flaky() -> int:
        attempts.append(runtime.attempt)
        if len(attempts) < 3:
            raise ValueError("not yet")
        return step(1)

    assert flaky() == 2
    assert attempts == [1, 2, 3]


def test_a_flow_is_deferred_and_served_like_a_task(jtask_worker: StartWorker) -> None:
    jtask_worker(doubling)
    run = doubling.delay(4)
    assert run.result()[1] == 9
    flow_run = seen[0][1]
    assert flow_run is not None
    assert flow_run.id == run.run_id


def test_what_a_flow_defers_knows_the_flow(jtask_worker: StartWorker) -> None:
    jtask_worker(step)
    flow_id, step_id = deferring(4)
    assert get_run(step_id).result() == 8
    assert seen == [(flow_id, FlowRun(flow_id, "deferring"))]


def test_runs_of_one_flow_run_share_what_is_cached_by_its_id(recorded: None) -> None:
    executed: list[int] = []

    @task(cache_policy=INPUTS + RUN_ID)
    def counted(number: int) -> int:
        executed.append(number)
        return number

    @task
    def deeper(number: int) -> int:
        return counted(number)

    @flow
    def twice() -> int:
        return counted(1) + deeper(1)

    assert twice() == 2
    assert executed == [1]
    twice()
    assert executed == [1, 1]


def test_runs_of_flows_with_the_same_parameters_share_what_is_cached_by_them(
    recorded: None,
) -> None:
    executed: list[str] = []

    @task(cache_policy=FLOW_PARAMETERS)
    def counted() -> str:
        executed.append("once")
        return "value"

    @flow
    def with_parameters(name: str) -> str:
        return counted()

    for name in ("a", "a", "b"):
        with_parameters(name)
    assert len(executed) == 2


def test_a_deferred_flow_that_raises_fails(jtask_worker: StartWorker) -> None:
    @flow
    def failing() -> None:
        raise ValueError("broken")

    jtask_worker(failing)
    run = failing.delay()
    with pytest.raises(ValueError, match="broken"):
        run.result()
    assert run.state.name is StateName.FAILED
