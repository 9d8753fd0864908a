"""Flows: tasks that are the parents of other runs."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from in_process import StartWorker, on_each_broker
from run_logs import messages_of
from waiting import PATIENCE

from jtask import State, StateName, flow, get_run, runtime, tags, task
from jtask.cache_policies import FLOW_PARAMETERS, INPUTS, RUN_ID
from jtask.client import get_client
from jtask.errors import ArgumentError, RunFailed, TaskDefinitionError
from jtask.runtime.flow_facts import FlowRun
from jtask.runtime.flow_runs import flow_run_of
from jtask.task_runners import ThreadPoolTaskRunner

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


@task
def told() -> tuple[str, list[str]]:
    flow_run = flow_run_of(runtime.current_run())
    return "" if flow_run is None else flow_run.id, list(runtime.tags)


@task(isolation="process")
def isolated() -> tuple[str, list[str]]:
    return told()


@flow
def isolating() -> tuple[str, list[str]]:
    return isolated()


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
    assert flow_run == FlowRun(
        flow_id, "doubling", "doubling", {"number": 4, "extra": 1}, (), run_count=1
    )


def test_a_run_of_a_subflow_is_part_of_the_innermost_flow() -> None:
    outer_id, (inner_id, _) = surrounding(4)
    assert outer_id != inner_id
    flow_run = seen[0][1]
    assert flow_run is not None
    assert flow_run.id == inner_id


def test_a_run_reads_what_flow_run_it_is_part_of_under_prefects_names() -> None:
    @task
    def look_around() -> tuple[object, ...]:
        flow_run = runtime.flow_run
        return (
            flow_run.id,
            flow_run.name,
            flow_run.flow_name,
            flow_run.tags,
            flow_run.parameters,
            flow_run.run_count,
        )

    @flow(name="shop", flow_run_name="order {order}", tags=["t"])
    def surrounded(order: int) -> tuple[tuple[object, ...], str | None]:
        return look_around(), runtime.run_id

    looked, flow_id = surrounded(7)
    assert looked == (flow_id, "order 7", "shop", ["t"], {"order": 7}, 1)
    assert look_around() == (None, None, None, [], {}, 0)


def test_a_flow_whose_name_has_half_a_character_starts_runs_in_the_background(
    jtask_worker: StartWorker,
) -> None:
    @task(key="told")
    def told() -> str:
        return runtime.flow_run.name or ""

    @flow(flow_run_name="{file}")
    def around(file: str) -> str:
        return told.delay().result(PATIENCE)

    jtask_worker(told)
    assert around("a\udcff") == "a\\udcff"


def test_outside_of_flows_there_is_no_flow_run() -> None:
    step(1)
    assert seen == [(None, None)]


@pytest.mark.parametrize("number", ["4", 4.0])
def test_the_parameters_of_a_flow_are_converted_by_its_annotations(number: Any) -> None:
    assert doubling(number)[1] == 9


def test_parameters_that_do_not_fit_are_refused_by_name() -> None:
    with pytest.raises(ArgumentError, match=r"'doubling'.*number.*integer.*validate_parameters"):
        doubling("four")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_call_that_fits_no_parameters_is_told_apart_from_values_that_do_not_fit() -> None:
    flows: Any = doubling
    for args, kwargs, said in (
        ((), {}, "task 'doubling' is missing argument 'number'"),
        ((1,), {"extr": 2}, r"has no argument 'extr'; did you mean 'extra'\?"),
        ((1, 2, 3), {}, "takes 2 positional arguments, got 3"),
    ):
        with pytest.raises(ArgumentError, match=said) as caught:
            flows(*args, **kwargs)
        assert "validate_parameters" not in str(caught.value)


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


def test_a_copy_of_a_flow_is_named_as_the_flow_would_be() -> None:
    @flow(flow_run_name="first-{number}")
    def named(number: int) -> str:
        return runtime.name

    assert named(1) == "first-1"
    assert named.with_options(flow_run_name="second-{number}")(2) == "second-2"
    with pytest.raises(TaskDefinitionError, match=r"'flow_run_name': did you mean 'task_run_name'"):
        step.with_options(flow_run_name="x")


def test_a_generator_function_is_refused_as_a_flow() -> None:
    with pytest.raises(TaskDefinitionError, match=r"'items' is a generator function.*@task"):

        @flow
        def items() -> Iterator[int]:
            yield 1

    class Items:
        def __call__(self) -> Iterator[int]:
            yield 1

    with pytest.raises(TaskDefinitionError, match=r"'Items' is a generator function.*@task"):
        flow(Items())


def test_a_method_can_be_a_flow_that_validates() -> None:
    class Shop:
        @flow
        def double(self, number: int) -> int:
            return number * 2

    assert Shop().double("4") == 8  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_what_a_flow_submits_goes_to_a_task_runner_of_its_kind_and_size() -> None:
    executing = [0]
    most: list[int] = []
    lock = threading.Lock()

    @task
    def counted(number: int) -> int:
        with lock:
            executing[0] += 1
            most.append(executing[0])
        threading.Event().wait(0.01)  # let another one begin, if it may
        with lock:
            executing[0] -= 1
        return number

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def fan_out() -> list[int]:
        return [run.result() for run in counted.map(range(8))]

    assert fan_out() == list(range(8))
    assert max(most) <= 2


def test_a_flow_is_not_over_before_what_it_has_submitted() -> None:
    ended: list[int] = []

    @task
    def slow(number: int) -> None:
        threading.Event().wait(0.05)
        ended.append(number)

    @flow
    def careless() -> None:
        slow.map(range(4))

    @flow
    async def careless_async() -> None:
        slow.map(range(4, 8))

    careless()
    assert sorted(ended) == [0, 1, 2, 3]
    asyncio.run(careless_async())
    assert sorted(ended) == list(range(8))


@pytest.mark.parametrize("wrap", [list, tuple, set])
def test_a_flow_that_returns_handles_has_the_values_of_their_runs(wrap: Any) -> None:
    @flow
    def returning() -> Any:
        return wrap([step.submit(1), step.submit(2)])

    assert sorted(returning()) == [2, 4]


def test_a_flow_that_returns_one_handle_ends_as_its_run_does() -> None:
    @task
    def broken() -> None:
        raise ValueError("broken")

    @flow
    def returning(*, works: bool) -> Any:
        return step.submit(4) if works else broken.submit()

    @flow
    async def returning_async(*, works: bool) -> Any:
        return step.submit(4) if works else broken.submit()

    assert returning(works=True) == 8
    assert asyncio.run(returning_async(works=True)) == 8
    with pytest.raises(ValueError, match="broken"):
        returning(works=False)
    with pytest.raises(ValueError, match="broken"):
        asyncio.run(returning_async(works=False))


def test_a_flow_fails_if_one_of_the_handles_that_it_returns_stands_for_a_failure() -> None:
    @task
    def odd(number: int) -> int:
        if number % 2 == 0:
            raise ValueError("even")
        return number

    @flow
    def returning() -> Any:
        return odd.map(range(5))

    @flow
    def not_returning() -> str:
        odd.map(range(5))
        return "did not look"

    with pytest.raises(RunFailed, match="3/5 states failed"):
        returning()
    assert not_returning() == "did not look"


def test_submitted_runs_know_their_flow_and_its_tags() -> None:
    @flow
    def submitting() -> tuple[str, Any]:
        with tags("of-block"):
            return runtime.run_id, told.submit().result()

    flow_id, (known, found) = submitting()
    assert (known, found) == (flow_id, ["of-block"])


def test_a_flow_has_the_state_hooks_of_tasks_and_those_of_its_ends() -> None:
    heard: list[tuple[str, str, str]] = []

    def hear(one: Any, run: Any, state: State) -> None:
        heard.append((one.name, run.name, state.name))

    @flow(
        flow_run_name="try {number}",
        retries=1,
        on_running=[hear],
        on_completion=[hear],
        on_failure=[hear],
        on_cancellation=[hear],
        on_crashed=[hear],
    )
    def ending(number: int) -> int:
        if number:
            return 1 // (number - 1)
        raise KeyboardInterrupt

    def heard_of(number: int) -> list[str]:
        heard.clear()
        with contextlib.suppress(ZeroDivisionError, KeyboardInterrupt):
            ending(number)
        assert {(name, run_name) for name, run_name, _ in heard} == {("ending", f"try {number}")}
        return [name for *_, name in heard]

    assert heard_of(2) == ["Running", "Completed"]
    assert heard_of(1) == ["Running", "Retrying", "Failed"]
    assert heard_of(0) == ["Running", "Crashed"]


def test_a_flow_that_takes_too_long_is_timed_out() -> None:
    @flow(timeout_seconds=0.05)
    async def slow() -> None:
        await asyncio.sleep(60)

    state = asyncio.run(slow(return_state=True))
    assert state.name is StateName.TIMED_OUT


def test_a_version_and_what_is_printed_are_a_flows_as_a_tasks(jtask_worker: StartWorker) -> None:
    ids: list[str] = []

    @task
    def speaking() -> None:
        ids.append(runtime.run_id)
        print("in the task")

    @flow(log_prints=True, version="3")
    def speaker() -> None:
        print("in the flow")
        speaking()

    jtask_worker(speaker)
    run = speaker.delay()
    run.result(timeout=30)
    assert run.info is not None
    assert run.info.version == "3"
    assert messages_of(run.run_id) == ["in the flow"]
    assert messages_of(ids[0]) == ["in the task"]


def test_what_is_no_task_runner_is_refused_by_name() -> None:
    with pytest.raises(TaskDefinitionError, match=r"task_runner.*ThreadPoolTaskRunner"):

        @flow(task_runner=4)
        def wrong() -> None: ...


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
    assert seen == [(flow_id, FlowRun(flow_id, "deferring", "deferring"))]


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


def test_parent_and_root_are_recorded_at_any_depth(jtask_worker: StartWorker) -> None:
    @task
    def leaf() -> tuple[str | None, str | None, str | None]:
        return runtime.run_id, runtime.parent_id, runtime.root_id

    @task
    def called() -> str:
        return leaf.delay().run_id

    @task
    def middle() -> tuple[str, str]:
        return runtime.run_id, called()

    @task
    def top() -> str:
        return middle.delay().run_id

    jtask_worker(leaf, middle, top)
    first = top.delay()
    second = get_run(first.result(), middle)
    _, last_id = second.result()
    last = get_run(last_id, leaf)
    _, parent, root = last.result()
    assert root == first.run_id
    assert parent not in (first.run_id, second.run_id)
    assert last.info is not None
    assert (last.info.parent, last.info.root) == (parent, root)
    assert second.info is not None
    assert (second.info.parent, second.info.root) == (first.run_id, first.run_id)
    assert first.info is not None
    assert (first.info.parent, first.info.root) == (None, None)


def test_tags_of_a_block_follow_into_runs_of_runs_and_those_of_a_task_do_not(
    jtask_worker: StartWorker,
) -> None:
    @task(tags=["of-leaf"])
    def leaf() -> list[str]:
        return list(runtime.tags)

    @task(tags=["of-top"])
    def top() -> tuple[list[str], str]:
        return leaf(), leaf.delay().run_id

    jtask_worker(leaf, top)
    with tags("of-block"):
        run = top.delay()
    called, deferred_id = run.result()
    assert called == ["of-leaf", "of-block"]
    assert get_run(deferred_id, leaf).result() == ["of-leaf", "of-block"]
    plain, _ = top.delay().result()
    assert plain == ["of-leaf"]


def test_what_a_child_process_calls_knows_the_flow_and_the_tags(
    jtask_worker: StartWorker,
) -> None:
    jtask_worker(isolating)
    with tags("of-block"):
        run = isolating.delay()
    flow_run_id, found = run.result()
    assert (flow_run_id, found) == (run.run_id, ["of-block"])


def test_a_deferred_flow_that_raises_fails(jtask_worker: StartWorker) -> None:
    @flow
    def failing() -> None:
        raise ValueError("broken")

    jtask_worker(failing)
    run = failing.delay()
    with pytest.raises(ValueError, match="broken"):
        run.result()
    assert run.state.name is StateName.FAILED
