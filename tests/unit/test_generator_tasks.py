"""Generators as tasks, called directly: they stream to their caller, as runs."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from jtask import AsyncGeneratorTask, GeneratorTask, runtime, tags, task
from jtask.cache_policies import INPUTS
from jtask.errors import RunTimedOut, TaskDefinitionError
from jtask.hooks import hookimpl
from jtask.plugins import get_plugins
from jtask.runtime import RunContext, current_run
from jtask.states import State
from jtask.tagging import tags_of_run


class Watch:
    """Notes the states that runs enter."""

    def __init__(self) -> None:
        self.states: list[str] = []

    @hookimpl
    def jtask_state(self, run: RunContext, state: State) -> None:
        self.states.append(state.name)


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    get_plugins().add(watch)
    yield watch
    get_plugins().remove(watch)


async def collected(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


def test_items_come_while_the_run_is_running(watch: Watch) -> None:
    @task
    def count(most: int) -> Iterator[int]:
        yield from range(most)

    seen = [(item, list(watch.states)) for item in count(2)]
    assert seen == [(0, ["Pending", "Running"]), (1, ["Pending", "Running"])]
    assert watch.states == ["Pending", "Running", "Completed"]


def test_items_of_an_asynchronous_generator_come_as_they_are_made(watch: Watch) -> None:
    @task
    async def count(most: int) -> AsyncIterator[int]:
        for number in range(most):
            await asyncio.sleep(0)
            yield number

    assert asyncio.run(collected(count(3))) == [0, 1, 2]
    assert watch.states == ["Pending", "Running", "Completed"]


def test_what_it_returns_is_the_value_of_stop_iteration() -> None:
    @task
    def count() -> Generator[int, None, str]:
        yield 1
        return "done"

    def outer() -> Generator[int, None, str]:
        return (yield from count()) + "!"

    items = outer()
    assert next(items) == 1
    with pytest.raises(StopIteration) as stop:
        next(items)
    assert stop.value.value == "done!"


def test_an_exception_fails_the_run_and_reaches_the_caller(watch: Watch) -> None:
    @task
    def fails() -> Iterator[int]:
        yield 1
        raise KeyError("x")

    items = fails()
    assert next(items) == 1
    with pytest.raises(KeyError, match="x"):
        next(items)
    assert watch.states[-1] == "Failed"


def test_a_retry_begins_anew_and_gives_all_items_again(watch: Watch) -> None:
    @task(retries=2, retry_delay_seconds=0)
    def fails() -> Iterator[int]:
        yield 1
        yield 2
        if runtime.attempt < 3:
            raise ValueError("not yet")

    assert list(fails()) == [1, 2, 1, 2, 1, 2]
    assert watch.states[-2:] == ["Retrying", "Completed"]

    @task(retries=1, retry_delay_seconds=0)
    async def fails_async() -> AsyncIterator[int]:
        yield 1
        if runtime.attempt < 2:
            raise ValueError("not yet")

    assert asyncio.run(collected(fails_async())) == [1, 1]


def test_a_caller_that_stops_completes_the_run(watch: Watch) -> None:
    cleaned: list[str] = []

    @task(retries=1)
    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            cleaned.append("plain")

    for _ in endless():
        break
    gc.collect()
    assert (cleaned, watch.states[-1]) == (["plain"], "Completed")

    @task
    async def endless_async() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0)
            cleaned.append("async")

    async def read_one() -> None:
        async with contextlib.aclosing(endless_async()) as items:
            async for _ in items:
                break

    asyncio.run(read_one())
    assert (cleaned[-1], watch.states[-1]) == ("async", "Completed")


def test_a_generator_that_fails_when_it_is_closed_fails_and_is_not_retried(watch: Watch) -> None:
    @task(retries=3)
    def stubborn() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise ValueError("not like this")

    items = stubborn()
    next(items)
    with pytest.raises(ValueError, match="not like this"):
        items.close()
    assert watch.states == ["Pending", "Running", "Failed"]


def test_what_the_caller_sends_and_throws_reaches_the_generator() -> None:
    @task
    def echo() -> Generator[str, str, None]:
        got = ""
        while True:
            try:
                got = yield f"got {got}"
            except KeyError as error:
                got = repr(error)

    items = echo()
    assert next(items) == "got "
    assert items.send("a") == "got a"
    assert items.throw(KeyError("b")) == "got KeyError('b')"
    items.close()

    @task
    async def echo_async() -> AsyncGenerator[str, str]:
        got = yield "begin"
        while True:
            got = yield f"got {got}"

    async def main() -> None:
        async with contextlib.aclosing(echo_async()) as items:
            assert await anext(items) == "begin"
            assert await items.asend("a") == "got a"

    asyncio.run(main())


def test_the_caller_does_not_see_the_run_between_two_items() -> None:
    @task
    def inner() -> Iterator[Any]:
        for _ in range(2):
            with tags("inside"):
                yield runtime.run_id, tags_of_run(())

    @task
    def outer() -> list[Any]:
        seen: list[Any] = []
        for run_id, tags_inside in inner():
            assert run_id != runtime.run_id
            seen.append((tags_inside, tags_of_run(()), runtime.task_name))
        return seen

    assert outer() == [(("inside",), (), "outer")] * 2
    for run_id, _ in inner():
        assert run_id is not None
        assert current_run() is None


def test_two_generators_at_once_keep_apart() -> None:
    @task
    def ids() -> Iterator[str]:
        while True:
            yield runtime.run_id

    one, other = ids(), ids()
    seen = [(next(one), next(other)) for _ in range(3)]
    assert len(set(seen)) == 1
    assert seen[0][0] != seen[0][1]


def test_a_timeout_cuts_the_stream_also_while_the_caller_holds_an_item() -> None:
    @task(timeout_seconds=0.2)
    def slow() -> Iterator[int]:
        yield 1
        yield 2

    items = slow()
    assert next(items) == 1
    time.sleep(0.3)
    with pytest.raises(RunTimedOut, match=r"exceeded timeout of 0\.2 seconds"):
        next(items)

    @task(timeout_seconds=0.2)
    async def slow_async() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(60)
        yield 2

    async def main() -> list[int]:
        items = slow_async()
        seen = [await anext(items)]
        with pytest.raises(RunTimedOut):
            await anext(items)
        return seen

    assert asyncio.run(main()) == [1]


def test_a_step_that_takes_too_long_is_interrupted() -> None:
    @task(timeout_seconds=0.2)
    def busy() -> Iterator[int]:
        yield 1
        while True:
            time.sleep(0.01)

    items = busy()
    assert next(items) == 1
    with pytest.raises(RunTimedOut):
        next(items)


def test_an_isolated_generator_is_not_called_directly() -> None:
    @task(isolation="process")
    def apart() -> Iterator[int]:
        yield 1

    with pytest.raises(TaskDefinitionError, match=r"use \.delay\(\)"):
        list(apart())


def test_methods_and_callable_objects_can_be_generators() -> None:
    class Shop:
        @task
        def sell(self, what: str) -> Iterator[str]:
            yield f"{what} of {type(self).__name__}"

        @task
        @classmethod
        def open(cls) -> Iterator[str]:
            yield cls.__name__

    class Counter:
        __name__ = "counter"

        def __call__(self, most: int) -> Iterator[int]:
            yield from range(most)

    assert list(Shop().sell("tea")) == ["tea of Shop"]
    assert list(Shop.open()) == ["Shop"]
    assert list(task(Counter())(2)) == [0, 1]


def test_the_kind_of_a_task_says_what_it_is_made_of() -> None:
    @task
    def plain() -> Iterator[int]:
        yield 1

    @task(name="a")
    async def asynchronous() -> AsyncIterator[int]:
        yield 1

    assert isinstance(plain, GeneratorTask)
    assert isinstance(asynchronous, AsyncGeneratorTask)
    assert isinstance(plain.with_options(tags=["x"]), GeneratorTask)


def test_a_run_that_ends_leaves_nothing_of_its_items() -> None:
    class Big:
        pass

    @task
    def some() -> Iterator[Big]:
        for _ in range(3):
            yield Big()

    for _ in some():
        gc.collect()
        assert sum(isinstance(one, Big) for one in gc.get_objects()) == 1


def test_a_generator_is_not_cached() -> None:
    executed: list[int] = []

    @task(cache_policy=INPUTS)
    def some(most: int) -> Iterator[int]:
        executed.append(most)
        yield from range(most)

    assert [list(some(2)), list(some(2))] == [[0, 1], [0, 1]]
    assert executed == [2, 2]


def test_a_call_that_gives_items_gives_no_state() -> None:
    @task
    def count() -> Iterator[int]:
        yield 1

    @task
    async def count_later() -> AsyncIterator[int]:
        yield 1

    for generator in (count, count_later):
        ask: Any = generator
        with pytest.raises(ValueError, match=r"is a generator, and a call of it gives its items"):
            ask(return_state=True)


def test_a_submitted_generator_has_the_list_of_its_items(watch: Watch) -> None:
    @task(retries=1)
    def count(most: int) -> Generator[int, None, str]:
        yield from range(most)
        assert most < 9 or runtime.attempt == 2
        yield runtime.attempt
        return "done"

    @task
    async def later(most: int) -> AsyncIterator[int]:
        for number in range(most):
            await asyncio.sleep(0)
            yield number

    assert count.submit(2).result() == [0, 1, 1]
    assert watch.states == ["Pending", "Running", "Completed"]
    assert count.submit(9).result() == [*range(9), 2]
    assert later.submit(3).result() == [0, 1, 2]
    assert count.map([0, 1]).result() == [[1], [0, 1]]
    assert count.submit(1, return_state=True).result() == [0, 1]


def test_the_items_of_a_submitted_generator_go_to_who_takes_its_future() -> None:
    @task
    def count(most: int) -> Iterator[int]:
        yield from range(most)

    @task
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    assert total.submit(count.submit(4).as_value).result() == 6
    assert list(count(2)) == [0, 1]


def test_a_submitted_generator_is_closed_when_it_is_cut() -> None:
    closed: list[bool] = []

    @task(timeout_seconds=0.1)
    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                await asyncio.sleep(0)
                yield 1
        finally:
            closed.append(True)

    assert isinstance(endless.submit().exception(), RunTimedOut)
    assert closed == [True]
