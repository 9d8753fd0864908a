"""The items of generators that execute in the background, on each broker."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
from in_process import StartWorker, on_each_broker, on_io
from waiting import PATIENCE

from jtask import Run, get_run, runtime, task
from jtask.client import get_client
from jtask.contract import ITEM, Broker, LogLine
from jtask.errors import ResultError, RunCancelled, RunDeadlock, TaskDefinitionError
from jtask.run_streams import StreamItem
from jtask.settings import get_settings

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


@dataclass
class Part:
    number: int
    text: str


@task
def parts(most: int) -> Iterator[Part]:
    for number in range(most):
        yield Part(number, f"ärger\n{number}")


@task
def drained(most: int) -> Generator[int, None, str]:
    yield from range(most)
    return "done"


@task
async def slowly(most: int) -> AsyncIterator[int]:
    for number in range(most):
        await asyncio.sleep(0)
        yield number


@task(retries=1, retry_delay_seconds=0)
def retried() -> Iterator[int]:
    yield 1
    yield 2
    if runtime.attempt == 1:
        raise ValueError("not yet")


@task
def fails() -> Iterator[int]:
    yield 1
    raise KeyError("x")


@task(isolation="process")
def apart(most: int) -> Generator[int, None, str]:
    yield from range(most)
    return "done"


@task(isolation="process")
async def apart_async(most: int) -> AsyncIterator[int]:
    for number in range(most):
        yield number


def stored(run_id: str) -> list[LogLine]:
    async def read(broker: Broker) -> list[LogLine]:
        pages = broker.items.read(run_id)
        return [line async for page in pages for line in page.lines if line.level == ITEM]

    found: list[LogLine] = on_io(read)
    return found


def test_items_come_back_as_they_are_annotated(jtask_worker: StartWorker) -> None:
    jtask_worker(parts)
    run = parts.delay(3)
    wanted = [Part(number, f"ärger\n{number}") for number in range(3)]
    assert list(run.stream()) == wanted
    assert list(get_run(run.run_id, parts).stream()) == wanted
    untyped: Run[Any] = Run(run.run_id, get_client())
    assert next(iter(untyped.stream())) == {"number": 0, "text": "ärger\n0"}


def test_the_value_of_the_run_is_what_the_generator_returned(jtask_worker: StartWorker) -> None:
    jtask_worker(drained)
    run = drained.delay(3)
    assert run.result(timeout=PATIENCE) == "done"

    def read() -> Generator[Any, None, str]:
        return (yield from run.stream())

    items = read()
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(StopIteration) as stop:
        next(items)
    assert stop.value.value == "done"


def test_items_are_read_while_the_generator_executes(jtask_worker: StartWorker) -> None:
    seen = threading.Event()

    @task
    def waits() -> Iterator[str]:
        yield "first"
        assert seen.wait(PATIENCE)
        yield "second"

    jtask_worker(waits)
    items = iter(waits.delay().stream())
    assert next(items) == "first"
    seen.set()
    assert list(items) == ["second"]


def test_an_event_loop_reads_and_writes_without_being_blocked(jtask_worker: StartWorker) -> None:
    jtask_worker(slowly)

    async def main() -> list[int]:
        run = await slowly.adelay(50)
        return [item async for item in run.stream()]

    assert asyncio.run(main()) == list(range(50))


def test_a_coroutine_that_blocks_the_loop_of_what_it_reads_is_refused(
    jtask_worker: StartWorker,
) -> None:
    @task
    async def blocking() -> list[int]:
        return list(slowly.delay(3).stream())

    @task
    async def reads_elsewhere() -> list[int]:
        return list(drained.delay(3).stream())

    jtask_worker(slowly, drained, blocking, reads_elsewhere)
    with pytest.raises(RunDeadlock, match="use `await run`, or `async for`"):
        blocking.delay().result(PATIENCE)
    assert reads_elsewhere.delay().result(PATIENCE) == [0, 1, 2]


def test_a_stream_is_resumed_where_it_was_left(jtask_worker: StartWorker) -> None:
    jtask_worker(drained)
    run = drained.delay(10)
    items = iter(run.stream())
    assert [next(items) for _ in range(4)] == [0, 1, 2, 3]
    items.close()
    assert list(get_run(run.run_id, drained).stream(start=4)) == [4, 5, 6, 7, 8, 9]
    assert list(run.stream(start=20)) == []
    for start in (-1, 1.5, "2"):
        with pytest.raises(ValueError, match="how many items to leave out"):
            run.stream(start=cast("Any", start))


def test_a_reader_sees_the_items_of_each_attempt_in_turn(jtask_worker: StartWorker) -> None:
    jtask_worker(retried)
    run = retried.delay()
    items = list(run.stream().items())
    assert [(one.value, one.index, one.attempt) for one in items] == [
        (1, 0, 1),
        (2, 1, 1),
        (1, 2, 2),
        (2, 3, 2),
    ]
    assert all(isinstance(one, StreamItem) and one.at > 0 for one in items)


def test_the_stream_of_a_run_that_failed_ends_with_its_exception(
    jtask_worker: StartWorker,
) -> None:
    jtask_worker(fails)
    items = iter(fails.delay().stream())
    assert next(items) == 1
    with pytest.raises(KeyError, match="x"):
        next(items)

    async def main() -> list[int]:
        seen: list[int] = []
        stream = aiter((await fails.adelay()).stream())
        seen.append(await anext(stream))
        with pytest.raises(KeyError):
            await anext(stream)
        return seen

    assert asyncio.run(main()) == [1]


def test_a_run_that_is_cancelled_ends_its_stream(jtask_worker: StartWorker) -> None:
    @task
    def endless() -> Iterator[int]:
        number = 0
        while not runtime.cancelled:
            yield number
            number += 1
            time.sleep(0.01)
        raise RunCancelled("enough")

    jtask_worker(endless)
    run = endless.delay()
    items = iter(run.stream())
    assert next(items) == 0
    run.cancel("enough")
    with pytest.raises(RunCancelled, match="enough"):
        list(items)


def test_items_of_a_child_process_come_as_those_of_a_thread(jtask_worker: StartWorker) -> None:
    jtask_worker(apart, apart_async)
    run = apart.delay(2500)
    assert list(run.stream()) == list(range(2500))
    assert run.result(timeout=PATIENCE) == "done"
    assert list(apart_async.delay(3).stream()) == [0, 1, 2]


def test_an_item_that_is_not_what_is_annotated_fails_the_run(jtask_worker: StartWorker) -> None:
    @task(retries=2)
    def wrong() -> Iterator[int]:
        yield 1
        yield "two"  # type: ignore[misc] # pyright: ignore[reportReturnType]

    jtask_worker(wrong)
    run = wrong.delay()
    items = iter(run.stream())
    assert next(items) == 1
    with pytest.raises(ResultError, match="an item of task 'wrong'"):
        list(items)
    assert run.attempt == 1


def test_an_item_that_fits_into_no_message_fails_the_run(jtask_worker: StartWorker) -> None:
    @task
    def large() -> Iterator[str]:
        yield "x" * 10_000_000

    jtask_worker(large)
    with pytest.raises(ResultError, match=r"an item of task 'large' has 10000002 bytes"):
        large.delay().result(timeout=PATIENCE)


def test_a_run_that_streams_beyond_the_limit_fails(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JTASK_RUN_STREAM_LIMIT", "1000")
    get_settings.cache_clear()

    @task
    def much() -> Iterator[str]:
        while True:
            yield "x" * 98

    jtask_worker(much)
    run = much.delay()
    with pytest.raises(ResultError, match=r"reached JTASK_RUN_STREAM_LIMIT \(1000 bytes\)"):
        run.result(timeout=PATIENCE)
    assert len(stored(run.run_id)) == 10


def test_items_may_be_pickled(jtask_worker: StartWorker) -> None:
    @task(serializer="cloudpickle")
    def pickled() -> Iterator[complex]:
        yield 1 + 2j

    jtask_worker(pickled)
    run = pickled.delay()
    assert list(run.stream()) == [1 + 2j]
    assert list(get_run(run.run_id, pickled).stream()) == [1 + 2j]


def test_a_run_without_items_has_an_empty_stream(jtask_worker: StartWorker) -> None:
    @task
    def plain() -> str:
        return "x"

    jtask_worker(plain, drained)
    assert list(drained.delay(0).stream()) == []
    assert list(plain.delay().stream()) == []


def test_many_items_come_in_their_order(jtask_worker: StartWorker) -> None:
    jtask_worker(drained)
    assert list(drained.delay(20_000).stream()) == list(range(20_000))


def test_a_generator_of_what_can_never_be_sent_is_not_served(jtask_worker: StartWorker) -> None:
    @task
    def functions() -> Iterator[threading.Thread]:
        yield threading.current_thread()

    with pytest.raises(TaskDefinitionError, match=r"declared to yield Thread, .* yield something"):
        jtask_worker(functions)
    assert list(functions()) == [threading.current_thread()]
