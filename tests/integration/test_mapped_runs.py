"""`.map()`: one run for each element of what can be iterated over."""

import asyncio
import io
from typing import Any

import pytest
from in_process import StartWorker
from waiting import eventually

from jtask import StateName, task
from jtask.annotations import allow_failure, opaque, quote, unmapped
from jtask.errors import (
    MappingLengthMismatch,
    MappingMissingIterable,
    ResultTimeout,
    RunDeadlock,
    TaskDefinitionError,
)
from jtask.futures import Future, FutureList, as_completed
from jtask.runtime import blocking
from jtask.task_runners import AsyncioTaskRunner

PATIENCE = 30.0


@task
def pair(a: Any, b: Any = (1, 2, 3)) -> Any:
    return a, b


@task
def gather(*args: Any, k: Any = 0, **others: Any) -> list[Any]:
    return [list(args), k, others]


@task
def first(a: int, /, b: int) -> list[int]:
    return [a, b]


@task
def double(x: int) -> int:
    return 2 * x


@task
def fail(x: int) -> int:
    raise KeyError(x)


@task
async def double_later(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


def test_each_element_gets_a_run_in_order() -> None:
    futures = double.map([1, 2, 3])
    assert isinstance(futures, FutureList)
    assert futures.result(PATIENCE) == [2, 4, 6]
    assert double.map([]).result(PATIENCE) == []


@pytest.mark.parametrize(
    "given",
    [(1, 2), {1: "x", 2: "y"}, {1, 2}, range(1, 3), iter([1, 2]), (x for x in (1, 2))],
    ids=lambda given: type(given).__name__,
)
def test_all_that_can_be_iterated_over_is_mapped(given: Any) -> None:
    assert double.map(given).result(PATIENCE) == [2, 4]


def test_what_cannot_be_goes_to_each_run_as_do_strings_bytes_and_what_is_unmapped() -> None:
    for value in ("ab", b"ab", bytearray(b"ab"), io.StringIO("a\nb"), 3, None):
        assert pair.map([1, 2], value).result(PATIENCE) == [(1, value), (2, value)]
    assert pair.map([1, 2], b=unmapped([5])).result(PATIENCE) == [(1, [5]), (2, [5])]


def test_annotations_go_together_in_any_order() -> None:
    failed, items = fail.submit(1), pair.submit(1, 2)
    for both in (unmapped(allow_failure(failed)), allow_failure(unmapped(failed))):
        results: Any = pair.map([1, 2], both).result(PATIENCE)
        assert [type(error) for _, error in results] == [KeyError, KeyError]
    assert pair.map([1], unmapped(items)).result(PATIENCE) == [(1, (1, 2))]
    assert pair.map([quote(items), 1], 0).result(PATIENCE) == [(items, 0), (1, 0)]
    assert pair.map([1], opaque([items])).result(PATIENCE) == [(1, [items])]


def test_several_are_mapped_together_and_defaults_are_not() -> None:
    assert pair.map([1, 2], [3, 4]).result(PATIENCE) == [(1, 3), (2, 4)]
    assert pair.map(a=[1], b=[3]).result(PATIENCE) == [(1, 3)]
    assert pair.map([1, 2]).result(PATIENCE) == [(1, (1, 2, 3)), (2, (1, 2, 3))]


def test_lengths_that_differ_are_an_error_that_names_them() -> None:
    with pytest.raises(MappingLengthMismatch, match=r"'a' has 2, 'b' has 3.*unmapped"):
        pair.map([1, 2], [1, 2, 3])


def test_lengths_are_told_apart_where_many_arguments_go_to_one_parameter() -> None:
    with pytest.raises(MappingLengthMismatch, match=r"argument 1 has 2, argument 2 has 1, 'k' has"):
        gather.map([1, 2], [3], k=[4, 5])


@pytest.mark.parametrize("deferred", [False, True])
def test_arguments_by_position_and_by_name_reach_each_run_as_they_were_given(
    jtask_worker: StartWorker, deferred: bool
) -> None:
    jtask_worker(gather, first)
    futures = gather.map([1, 2], unmapped([3]), k=[4, 5], args=[6, 7], deferred=deferred)
    expected = [[[1, [3]], 4, {"args": 6}], [[2, [3]], 5, {"args": 7}]]
    assert futures.result(PATIENCE) == expected
    assert first.map([1, 2], b=[3, 4], deferred=deferred).result(PATIENCE) == [[1, 3], [2, 4]]


def test_nothing_to_map_over_is_an_error() -> None:
    with pytest.raises(MappingMissingIterable, match="none of the arguments"):
        pair.map(1, "x")


def test_futures_are_mapped_over_and_may_be_elements() -> None:
    upstream = pair.submit(1, 2)
    assert double.map(upstream).result(PATIENCE) == [2, 4]
    assert double.map([double.submit(1), 1]).result(PATIENCE) == [4, 2]
    assert double.map(double.map([1, 2])).result(PATIENCE) == [4, 8]
    assert double.map(pair(1, 2, return_state=True)).result(PATIENCE) == [2, 4]


def test_a_failure_ends_the_run_that_got_it() -> None:
    upstream = fail.map([1, 2])
    states = double.map([*upstream, 5], return_state=True)
    assert [state.name for state in states] == [StateName.NOT_READY] * 2 + [StateName.COMPLETED]
    passed = pair.map(allow_failure(upstream), 0).result(PATIENCE)
    assert [type(error) for error, _ in passed] == [KeyError, KeyError]


def test_all_wait_for_what_is_waited_for() -> None:
    states = double.map([1, 2], wait_for=[fail.submit(1)], return_state=True)
    assert {state.name for state in states} == {StateName.NOT_READY}


def test_coroutine_functions_are_executed_on_the_loop_of_who_submits_them() -> None:
    @task
    async def loop_of() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async def main() -> None:
        async with AsyncioTaskRunner():
            futures: FutureList[int] = double_later.map(range(100))
            assert await loop_of.submit() is asyncio.get_running_loop()
        assert all(future.done() for future in futures)
        assert await futures.result_async() == [2 * number for number in range(100)]

    asyncio.run(main())


def test_coroutine_functions_of_who_has_no_loop_share_one() -> None:
    @task
    async def meet(gate: list[asyncio.Event]) -> int:
        gate[0].set()
        return 1

    @task
    async def wait_there(gate: list[asyncio.Event]) -> int:
        gate.append(asyncio.Event())
        await gate[0].wait()
        return 2

    gate: list[asyncio.Event] = []
    with AsyncioTaskRunner():
        waiting: Future[int] = wait_there.submit(gate)
        eventually(lambda: gate)
        assert meet.submit(gate).result(PATIENCE) == 1
        assert waiting.result(PATIENCE) == 2


def test_a_wait_that_is_refused_because_of_a_caller_is_not_counted() -> None:
    caller: list[Future[None]] = []

    @task
    def wait_for_caller() -> None:
        caller[0].result()

    @task
    def call() -> None:
        eventually(lambda: caller)
        wait_for_caller()

    caller.append(call.submit())
    with pytest.raises(RunDeadlock):
        caller[0].result(PATIENCE)
    assert not blocking._awaited


def test_a_coroutine_that_would_block_the_loop_of_its_run_for_ever_is_told_to_await_it() -> None:
    async def main() -> None:
        async with AsyncioTaskRunner():
            future = double_later.submit(1)
            for wait_for_it in (future.result, lambda: list(as_completed([future]))):
                with pytest.raises(RunDeadlock, match=r"executes on this event loop.*await run"):
                    wait_for_it()
            assert not future.wait(0)
            with pytest.raises(ResultTimeout, match=r"executes on this event loop.*await run"):
                future.result(0)
            assert await future == 2
            assert future.result() == 2

    asyncio.run(main())


def test_a_plain_function_does_not_belong_on_a_loop() -> None:
    with AsyncioTaskRunner(), pytest.raises(TaskDefinitionError, match="ThreadPoolTaskRunner"):
        double.submit(1)
