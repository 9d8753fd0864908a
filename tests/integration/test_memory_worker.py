"""Runs that are delayed, executed by a worker and waited for, all in one process."""

import asyncio
import contextlib
import dataclasses
import gc
import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Self

import pydantic
import pytest
from in_process import StartWorker, arguments_blob, events_of, on_io
from waiting import PATIENCE, eventually

import jtask
from jtask import Run, State, StateName, get_run, runtime, task
from jtask.client import get_client
from jtask.contract import Broker, Message, OutcomeRecord
from jtask.errors import (
    ArgumentError,
    JTaskError,
    RemoteTraceback,
    ResultTimeout,
    RunCancelled,
    RunCrashed,
    RunDeadlock,
    RunExpired,
    RunFailed,
    RunNotFound,
    RunRefused,
    SerializationError,
    TaskDefinitionError,
    TaskFailed,
)
from jtask.futures import as_completed
from jtask.hooks import hookimpl
from jtask.ids import RunIds, created_at
from jtask.lifecycle import Retry
from jtask.outcomes import Outcome
from jtask.testing import RunningWorker, run_worker
from jtask.wire.envelope import Envelope, decode_envelope

pytestmark = pytest.mark.usefixtures("jtask_broker")

MEGABYTE = 1_000_000


@task
def add(a: int, b: int = 1) -> int:
    return a + b


@task
def take_words(words: list[str]) -> list[str]:
    return words


@task
def take_anything(x: Any) -> None: ...


@task
async def slow_add(a: int, b: int = 1) -> int:
    await asyncio.sleep(0)
    return a + b


@pytest.fixture
def worker(jtask_worker: StartWorker) -> RunningWorker:
    return jtask_worker(add, slow_add)


def letters() -> list[Any]:
    async def read(broker: Broker) -> list[Any]:
        return [letter async for letter in broker.dead_letters.read()]

    return list(on_io(read))


def send(body: bytes, queue: str, run_id: str | None = None) -> str:
    """Put a message of any body into a queue, as another program could."""
    message = Message(run_id or get_client().ids.new(), queue, body)
    on_io(lambda broker: broker.runs.enqueue([message]))
    return message.run_id


# --- sending and waiting -------------------------------------------------------------------------


def test_a_delayed_run_gives_the_value_of_its_task(worker: RunningWorker) -> None:
    run = add.delay(2, b=3)
    assert run.result(PATIENCE) == 5
    assert run.state.name is StateName.COMPLETED
    assert run.done()
    assert run.exception(PATIENCE) is None
    assert run.attempt == 1
    assert run.worker == f"{os.uname().nodename}-{os.getpid()}"


def test_a_coroutine_that_blocks_its_loop_for_a_run_is_told_what_to_write(
    jtask_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    @task
    async def blocking() -> int:
        return add.delay(1).result(PATIENCE)

    @task
    async def waiting() -> int:
        return await add.delay(1)

    jtask_worker(add, blocking, waiting)
    with caplog.at_level(logging.WARNING, "jtask"):
        assert waiting.delay().result(PATIENCE) == 2
        assert "event loop" not in caplog.text
        assert blocking.delay().result(PATIENCE) == 2
    assert "task blocking blocks its event loop" in caplog.text
    assert "use `await run`" in caplog.text


async def wait_for_one() -> int:
    return slow_add.delay(1).result()


async def wait_for_one_that_executes() -> int:
    run = slow_add.delay(1)
    await asyncio.sleep(0)
    return run.result()


async def wait_for_the_first_of_many() -> int:
    return next(as_completed([slow_add.delay(1), never_served.delay()])).result()


async def wait_for_all() -> list[int]:
    return slow_add.map([1, 2], deferred=True).result()


async def wait_for_one_that_waits() -> int:
    return plain_wait.delay().result()


@task
async def never_served() -> int:
    return 0


@task
def plain_wait() -> int:
    return slow_add.delay(1).result()


@pytest.mark.parametrize(
    "code",
    [
        wait_for_one,
        wait_for_one_that_executes,
        wait_for_the_first_of_many,
        wait_for_all,
        wait_for_one_that_waits,
    ],
)
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_coroutine_that_blocks_the_loop_of_what_it_waits_for_is_refused(
    jtask_worker: StartWorker, code: Callable[[], Any], concurrency: int
) -> None:
    blocking = task(code)
    jtask_worker(slow_add, plain_wait, blocking, concurrency=concurrency)
    with pytest.raises(RunDeadlock, match="use `await run`"):
        blocking.delay().result(PATIENCE)
    # The loop is free again.
    assert slow_add.delay(1).result(PATIENCE) == 2


def test_a_refused_coroutine_may_go_on_and_await_the_run(jtask_worker: StartWorker) -> None:
    @task
    async def catching() -> int:
        run = slow_add.delay(1)
        try:
            return run.result()
        except RunDeadlock:
            return await run

    jtask_worker(slow_add, catching)
    assert catching.delay().result(PATIENCE) == 2


def test_another_thread_that_waits_for_the_same_run_is_not_refused(
    jtask_worker: StartWorker,
) -> None:
    run_ids: queue.SimpleQueue[str] = queue.SimpleQueue()
    is_awaited_here = threading.Event()

    @task
    async def blocking() -> int:
        run = slow_add.delay(1)
        run_ids.put(run.run_id)
        is_awaited_here.wait(PATIENCE)
        return run.result()

    jtask_worker(slow_add, blocking)
    refused = blocking.delay()
    run = get_run(run_ids.get(timeout=PATIENCE), slow_add)
    with ThreadPoolExecutor(1) as threads:
        value = threads.submit(run.result, PATIENCE)
        eventually(lambda: run.is_awaited)
        is_awaited_here.set()
        with pytest.raises(RunDeadlock):
            refused.result(PATIENCE)
        assert value.result(PATIENCE) == 2


def test_a_plain_task_that_blocks_the_loop_it_is_called_on_is_not_told_to_await(
    jtask_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    @task
    def plain() -> int:
        return add.delay(1).result(PATIENCE)

    async def call_it() -> int:
        return plain()

    jtask_worker(add)
    with caplog.at_level(logging.WARNING, "jtask"):
        assert asyncio.run(call_it()) == 2
    assert "task plain blocks its event loop" in caplog.text
    assert "call it by asyncio.to_thread, or make it asynchronous" in caplog.text
    assert "await run" not in caplog.text


def test_a_run_that_nobody_waits_for_is_executed_too(jtask_worker: StartWorker) -> None:
    done = threading.Event()

    @task
    def work() -> None:
        done.set()

    jtask_worker(work)
    work.delay()
    assert done.wait(PATIENCE)


def test_runs_wait_for_a_worker_that_comes_later() -> None:
    runs = [add.delay(1), slow_add.delay(2)]
    assert not runs[0].wait(0.01)
    with run_worker(add, slow_add):
        assert [run.result(PATIENCE) for run in runs] == [2, 3]


def test_an_event_loop_can_send_and_wait(worker: RunningWorker) -> None:
    async def main() -> list[Any]:
        first = await add.adelay(1)
        second = await slow_add.adelay(2, b=2)
        third, fourth = await add.adelay_many([(1, 1), {"a": 5}])
        found: list[Any] = [await first, await second, await third.result_async(PATIENCE)]
        assert await fourth.wait_async(PATIENCE)
        found.append((await fourth.state_async()).name)
        return found

    assert asyncio.run(main()) == [2, 4, 2, "Completed"]


def test_many_runs_are_sent_at_once_in_order(worker: RunningWorker) -> None:
    runs = add.delay_many([(1,), (2, 2), {"a": 3}, {"b": 4, "a": 4}, [5]])
    assert [run.result(PATIENCE) for run in runs] == [2, 4, 4, 8, 6]
    assert [run.run_id for run in runs] == sorted(run.run_id for run in runs)


def test_of_many_runs_none_is_sent_when_one_is_wrong() -> None:
    with pytest.raises(ArgumentError, match="'b' must be a valid integer"):
        add.delay_many([(1,), (2, "x")])
    assert on_io(lambda broker: broker.queues.depth(add.queue)) == 0


def test_a_broker_without_shorter_ways_is_called_on_its_loop_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, is_on_loop = get_client(), list[bool]()
    enqueue = client.broker.runs.enqueue

    def watched(messages: Sequence[Message]) -> Awaitable[None]:
        is_on_loop.append(client.io.is_current)
        return enqueue(messages)

    monkeypatch.setattr(client.broker.runs, "enqueue", watched)
    add.delay_many([(1,), (2,)])
    asyncio.run(add.adelay_many([(1,), {"a": 2}]))
    assert is_on_loop == [True, True]


def test_a_text_is_no_call() -> None:
    with pytest.raises(TaskDefinitionError, match="got 'ab'"):
        add.delay_many(["ab"])


def test_wrong_arguments_are_refused_at_the_call() -> None:
    with pytest.raises(ArgumentError, match="task 'add' is missing argument 'a'"):
        add.delay()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with pytest.raises(ArgumentError, match="has no argument 'c'"):
        add.delay(1, c=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with pytest.raises(SerializationError, match="argument 'x' of task 'take_anything'"):
        take_anything.delay(object())
    assert on_io(lambda broker: broker.queues.depth(add.queue)) == 0


def test_a_run_can_be_told_to_start_later(worker: RunningWorker) -> None:
    begun = time.time()
    later = add.apply_async((1,), countdown=0.3)
    at = add.apply_async([1], {"b": 2}, eta=datetime.now(UTC) + timedelta(seconds=0.2))
    assert later.result(PATIENCE) == 2
    assert later.start_time is not None
    assert later.start_time >= begun + 0.3
    assert at.result(PATIENCE) == 3
    optioned = add.with_options(delay=0.1).delay(1)
    assert optioned.result(PATIENCE) == 2


def test_a_run_that_is_too_late_expires() -> None:
    run = add.apply_async((1,), expires=0.05)
    kept = add.apply_async((1,), expires=3600.0)
    eventually(lambda: time.time() > created_at(run.run_id) + 0.1)
    with run_worker(add):
        assert kept.result(PATIENCE) == 2
        assert isinstance(run.exception(PATIENCE), RunExpired)
        assert run.state.name is StateName.EXPIRED


def test_higher_priorities_come_first() -> None:
    order: list[int] = []

    @task
    def note(number: int) -> None:
        order.append(number)

    runs = [note.apply_async((n,), priority=n) for n in (0, 9, 5)]
    with run_worker(note, concurrency=1, prefetch=0):
        for run in runs:
            run.result(PATIENCE)
    assert order == [9, 5, 0]


def test_a_run_can_wait_in_another_queue() -> None:
    @task(queue="elsewhere")
    def other() -> None: ...

    run = add.apply_async((1,), queue="elsewhere")
    with run_worker(add):
        assert add.delay(2).result(PATIENCE) == 3  # so long the other one had
        assert on_io(lambda broker: broker.results.get(run.run_id)) is None
    with run_worker(other, add):
        assert run.result(PATIENCE) == 2


def test_a_copy_with_a_queue_of_its_own_is_served_beside_its_task() -> None:
    elsewhere = add.with_options(queue="elsewhere")
    runs = [add.delay(1), elsewhere.delay(2), add.apply_async((3,), queue="elsewhere")]
    with run_worker(elsewhere, add):
        assert [run.result(PATIENCE) for run in runs] == [2, 3, 4]


def test_a_wait_that_takes_too_long_ends() -> None:
    run = add.delay(1)
    assert run.wait(0.01) is False
    with pytest.raises(ResultTimeout, match=rf"run {run.run_id} did not end within 0.01 seconds"):
        run.result(0.01)
    with pytest.raises(TimeoutError):
        run.exception(0.01)

    async def main() -> bool:
        with pytest.raises(ResultTimeout):
            await run.result_async(0.01)
        return await run.wait_async(0.01)

    assert asyncio.run(main()) is False


def test_a_thousand_waiters_are_all_woken(worker: RunningWorker) -> None:
    runs = slow_add.delay_many([(n,) for n in range(1000)])
    found: dict[int, Any] = {}
    called: list[Run[Any]] = []

    async def main() -> list[Any]:
        return await asyncio.gather(*runs)

    def wait(start: int) -> None:
        for number in range(start, 1000, 20):
            found[number] = runs[number].result(PATIENCE)

    for run in runs:
        run.add_done_callback(called.append)
    threads = [threading.Thread(target=wait, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    assert asyncio.run(main()) == list(range(1, 1001))
    for thread in threads:
        thread.join()
    assert found == {n: n + 1 for n in range(1000)}
    eventually(lambda: len(called) == 1000)


def test_a_done_callback_is_called_with_the_handle_once(worker: RunningWorker) -> None:
    calls: list[Run[Any]] = []
    run = add.delay(1)
    run.add_done_callback(calls.append)
    run.result(PATIENCE)
    eventually(lambda: calls)
    run.add_done_callback(calls.append)
    assert calls == [run, run]


def test_a_done_callback_needs_neither_a_wait_nor_the_handle(worker: RunningWorker) -> None:
    called = threading.Event()
    add.delay(1).add_done_callback(lambda _: called.set())
    gc.collect()
    assert called.wait(PATIENCE)


def test_a_done_callback_that_fails_is_logged_and_wakes_the_others(
    worker: RunningWorker, caplog: pytest.LogCaptureFixture
) -> None:
    called = threading.Event()
    run = add.apply_async((1,), countdown=0.05)
    with caplog.at_level(logging.ERROR, "jtask"):
        run.add_done_callback(lambda _: 1 / 0)
        run.add_done_callback(lambda _: called.set())
        assert run.result(PATIENCE) == 2
        assert called.wait(PATIENCE)
    assert f"a done callback of run {run.run_id} failed" in caplog.text


def test_a_done_callback_that_cannot_be_called_is_refused_at_once() -> None:
    run: Any = add.delay(1)
    with pytest.raises(TypeError, match="a done callback is a function that takes the run, got 3"):
        run.add_done_callback(3)


def test_a_wait_that_took_too_long_leaves_nothing_behind() -> None:
    run = add.delay(1)

    async def main() -> None:
        await run.wait_async(0.001)

    for _ in range(3):
        run.wait(0.001)
        asyncio.run(main())
    assert run._callbacks == ()


def test_delaying_from_a_done_callback_is_refused_with_the_way_out(worker: RunningWorker) -> None:
    errors: list[Exception] = []
    said = threading.Event()

    def callback(_: Run[Any]) -> None:
        try:
            add.delay(1)
        except Exception as error:
            errors.append(error)
        said.set()

    run = add.apply_async((1,), countdown=0.05)
    run.add_done_callback(callback)
    run.result(PATIENCE)
    assert said.wait(PATIENCE)
    assert "hand the work to another thread" in str(errors[0])


def test_callers_in_many_threads_and_loops_do_not_mix(worker: RunningWorker) -> None:
    found: dict[int, Any] = {}

    def from_thread(number: int) -> None:
        found[number] = add.delay(number, b=0).result(PATIENCE)

    def from_loop(number: int) -> None:
        async def main() -> list[Any]:
            runs = await asyncio.gather(*(slow_add.adelay(number, b=n) for n in range(20)))
            return await asyncio.gather(*runs)

        found[number] = asyncio.run(main())

    threads = [threading.Thread(target=from_thread, args=(n,)) for n in range(100)]
    threads += [threading.Thread(target=from_loop, args=(n,)) for n in range(100, 105)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected: dict[int, Any] = {n: n for n in range(100)}
    assert found == expected | {n: [n + m for m in range(20)] for n in range(100, 105)}


# --- handles -------------------------------------------------------------------------------------


def test_any_handle_of_a_run_gives_its_result(worker: RunningWorker) -> None:
    run = add.delay(1)
    second = Run[int](run.run_id, get_client())
    assert second == run
    assert hash(second) == hash(run)
    assert second.result(PATIENCE) == run.result(PATIENCE) == 2
    assert get_run(run.run_id).result(PATIENCE) == 2


def test_all_handles_of_a_run_that_has_not_ended_are_woken() -> None:
    run = add.delay(1)
    handles = [run, *(get_run(run.run_id) for _ in range(3)), get_run(run.run_id, add)]
    found: list[Any] = []
    waiting = [
        threading.Thread(target=lambda handle=handle: found.append(handle.result(PATIENCE)))
        for handle in handles
    ]
    for thread in waiting:
        thread.start()
    del run, handles
    with run_worker(add):
        for thread in waiting:
            thread.join()
    assert found == [2] * 5


def test_a_run_of_another_process_can_be_waited_for(worker: RunningWorker) -> None:
    foreign = RunIds().new()
    handle = get_run(foreign)
    assert not handle.wait(0.01)
    envelope = Envelope(foreign, add.key, "add", "json", b'{"a":1}', time.time())
    send(envelope.encode(), add.queue, foreign)
    assert handle.result(PATIENCE) == 2


def test_a_handle_with_its_task_gives_the_declared_type(jtask_worker: StartWorker) -> None:
    @task
    def when() -> datetime:
        return datetime(2020, 1, 1, tzinfo=UTC)

    jtask_worker(when)
    run = when.delay()
    run.result(PATIENCE)
    assert Run[Any](run.run_id, get_client()).result(PATIENCE) == "2020-01-01T00:00:00Z"
    typed = Run[datetime](run.run_id, get_client(), when)
    assert typed.result(PATIENCE) == datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "nonsense", "a0d5c7d2-4b1c-4f7e-9f6e-3c1f0a9d2b11"])
def test_what_is_no_run_id_is_refused(text: str) -> None:
    with pytest.raises(RunNotFound, match="is not a run id, such as"):
        get_run(text)


def test_a_handle_shows_its_run_and_state(worker: RunningWorker) -> None:
    run = add.delay(1)
    assert repr(run) == f"<run {run.run_id} of 'add'>"
    run.result(PATIENCE)
    assert repr(run) == f"<run {run.run_id} of 'add' Completed>"
    assert run.task_run_id == run.run_id


def test_a_run_tells_where_it_stands_through_its_life(jtask_worker: StartWorker) -> None:
    started, go_on = threading.Event(), threading.Event()

    @task
    def work() -> int:
        started.set()
        assert go_on.wait(PATIENCE)
        return 7

    run = work.delay()
    assert run.state.name is StateName.SCHEDULED
    assert (run.attempt, run.start_time, run.end_time, run.worker) == (None, None, None, None)
    jtask_worker(work)
    assert started.wait(PATIENCE)
    eventually(lambda: run.state.name is StateName.RUNNING)
    go_on.set()
    assert run.result(PATIENCE) == 7
    assert run.state.name is StateName.COMPLETED
    assert run.start_time is not None
    assert run.end_time is not None
    assert run.total_run_time is not None
    assert run.start_time <= run.end_time
    assert 0 <= run.total_run_time <= run.end_time - run.start_time + 0.01


def test_every_state_of_a_run_is_an_event(worker: RunningWorker) -> None:
    run = add.delay(1)
    run.result(PATIENCE)
    eventually(lambda: len(events_of(run.run_id)) >= 4)
    events = events_of(run.run_id)
    assert sorted(event.state for event in events) == sorted(
        ["Scheduled", "Pending", "Running", "Completed"]
    )
    assert {event.task for event in events} == {add.key}


# --- values --------------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


class Order(pydantic.BaseModel):
    number: int
    lines: list[Point] = []


VALUES: list[tuple[Any, Any]] = [
    (int, 2**70),
    (float, 0.1),
    (str, "ü\n"),
    (bytes, b"\x00\xff"),
    (type(None), None),
    (datetime, datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
    (date, date(2020, 1, 2)),
    (timedelta, timedelta(days=1, microseconds=1)),
    (Decimal, Decimal("1.10")),
    (uuid.UUID, uuid.UUID(int=5)),
    (Colour, Colour.RED),
    (Point, Point(1, 2.5)),
    (Order, Order(number=1, lines=[Point(1)])),
    (list[Point], [Point(1), Point(2)]),
    (dict[str, tuple[int, ...]], {"a": (1, 2)}),
    (set[int], {1, 2}),
    (Point | None, Point(3)),
]


@pytest.mark.parametrize(("kind", "value"), VALUES, ids=[str(kind) for kind, _ in VALUES])
def test_values_keep_their_type_on_both_ways(
    kind: Any, value: Any, jtask_worker: StartWorker
) -> None:
    def same(value: Any) -> Any:
        return value

    same.__annotations__ = {"value": kind, "return": kind}
    work = task(same)
    jtask_worker(work)
    back = work.delay(value).result(PATIENCE)
    assert back == value
    assert type(back) is type(value)


def test_a_method_returns_and_yields_objects_of_its_class(jtask_worker: StartWorker) -> None:
    @dataclasses.dataclass
    class Count:
        now: int

        @task
        def next(self, *others: Self) -> list[Self] | None:
            return [Count(one.now + 1) for one in (self, *others)]

        @task
        def named(self) -> "Count":
            return Count(self.now + 1)

        @task
        def all(self) -> Iterator[Self]:
            yield from map(Count, range(self.now))

    jtask_worker(Count.next, Count.named, Count.all)
    assert Count(1).next.delay(Count(2)).result(PATIENCE) == [Count(2), Count(3)]
    assert Count(1).named.delay().result(PATIENCE) == Count(2)
    assert list(Count(2).all.delay().stream()) == [Count(0), Count(1)]


def test_methods_take_their_object_along(jtask_worker: StartWorker) -> None:
    jtask_worker(Shop.sell, Shop.kind)
    assert Shop("Ann").sell.delay("tea").result(PATIENCE) == "Ann sells tea"
    assert Shop.kind.delay(3).result(PATIENCE) == "Shop 3"


@dataclasses.dataclass
class Shop:
    name: str

    @task
    def sell(self, what: str) -> str:
        return f"{self.name} sells {what}"

    @task
    @classmethod
    def kind(cls, number: int) -> str:
        return f"{cls.__name__} {number}"


def test_what_is_too_big_for_a_message_travels_as_a_blob(jtask_worker: StartWorker) -> None:
    @task
    def turn(text: str) -> str:
        return text[::-1]

    @task
    async def count(text: str) -> int:
        return len(text)

    jtask_worker(turn, count)
    big = "ab" * MEGABYTE
    assert get_client().broker.inline_limit < len(big)
    run = turn.delay(big)
    assert run.result(PATIENCE) == "ba" * MEGABYTE
    assert Run[str](run.run_id, get_client()).result(PATIENCE) == "ba" * MEGABYTE
    assert count.delay(big).result(PATIENCE) == len(big)
    many = count.delay_many([("x",), (big,), ("yz",)])
    assert [run.result(PATIENCE) for run in many] == [1, len(big), 2]

    async def main() -> str:
        return await (await turn.adelay(big))

    assert asyncio.run(main()) == "ba" * MEGABYTE


def test_the_arguments_blob_goes_when_its_run_is_over(jtask_worker: StartWorker) -> None:
    @task
    def count(text: str) -> int:
        return len(text)

    run = count.delay("x" * 2 * MEGABYTE)
    assert arguments_blob(run.run_id)
    jtask_worker(count)
    run.result(PATIENCE)
    eventually(lambda: arguments_blob(run.run_id) is None)


def test_what_json_cannot_carry_travels_as_a_pickle_when_the_task_says_so(
    jtask_worker: StartWorker,
) -> None:
    @task(serializer="cloudpickle")
    def apply(function: Callable[[int], Any], value: int) -> Any:
        return function(value), function

    jtask_worker(apply)
    value, function = apply.delay(lambda x: {x: {x}}, 3).result(PATIENCE)
    assert value == {3: {3}}
    assert function(4) == {4: {4}}


def test_a_pickled_result_is_read_only_by_the_tasks_own_code(jtask_worker: StartWorker) -> None:
    @task(serializer="cloudpickle")
    def make() -> Any:
        return {1, 2}

    jtask_worker(make)
    run = make.delay()
    assert run.result(PATIENCE) == {1, 2}
    with pytest.raises(JTaskError, match=r"get_run\(run_id, task\)"):
        Run[Any](run.run_id, get_client()).result(PATIENCE)
    assert Run[Any](run.run_id, get_client(), make).result(PATIENCE) == {1, 2}


class Explosive:
    def __reduce__(self) -> Any:
        return exploded.append, ("unpickled",)


exploded: list[str] = []


def test_a_worker_does_not_unpickle_because_a_message_says_so(worker: RunningWorker) -> None:
    import pickle

    client = get_client()
    run_id = client.ids.new()
    payload = pickle.dumps(((Explosive(),), {}))
    handle = get_run(run_id, add)
    send(Envelope(run_id, add.key, "add", "cloudpickle", payload, 1.0).encode(), add.queue, run_id)
    error = handle.exception(PATIENCE)
    assert isinstance(error, SerializationError)
    assert "declares serializer='json' here, but the run was written with 'cloudpickle'" in str(
        error
    )
    assert handle.state.name is StateName.FAILED
    assert exploded == []


# --- failures ------------------------------------------------------------------------------------


class Odd(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


@task
def fail(kind: str) -> None:
    if kind == "value":
        raise ValueError("no", 3)
    if kind == "odd":
        raise Odd(1, 2)
    if kind == "cause":
        try:
            raise KeyError("deep")
        except KeyError as error:
            raise ValueError("outer") from error
    if kind == "exit":
        raise SystemExit(3)
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "cancelled":
        raise asyncio.CancelledError
    if kind == "cancel":
        raise RunCancelled("changed my mind")
    if kind == "stop":
        raise StopIteration("empty")


@task
async def slow_fail(kind: str) -> None:
    await asyncio.sleep(0)
    fail.fn(kind)


kinds = pytest.mark.parametrize("failing", [fail, slow_fail], ids=["plain", "async"])


@kinds
def test_an_exception_comes_back_as_itself_with_the_remote_traceback(
    failing: Any, jtask_worker: StartWorker
) -> None:
    jtask_worker(failing)
    run = failing.delay("value")
    with pytest.raises(ValueError, match="no") as caught:
        run.result(PATIENCE)
    assert caught.value.args == ("no", 3)
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert 'raise ValueError("no", 3)' in str(caught.value.__cause__)
    assert run.state == State(StateName.FAILED, run.state.at, run.state.message)
    assert run.state.message.startswith("the task raised ValueError")
    assert type(run.exception()) is ValueError
    assert type(run.result(raise_on_failure=False)) is ValueError


@kinds
def test_the_remote_traceback_shows_causes(failing: Any, jtask_worker: StartWorker) -> None:
    jtask_worker(failing)
    error = failing.delay("cause").exception(PATIENCE)
    assert isinstance(error, ValueError)
    assert "KeyError: 'deep'" in str(error.__cause__)
    assert "direct cause" in str(error.__cause__)


def test_an_awaited_run_raises_too(jtask_worker: StartWorker) -> None:
    jtask_worker(fail)

    async def main() -> None:
        run = await fail.adelay("value")
        with pytest.raises(ValueError, match="no"):
            await run

    asyncio.run(main())


@kinds
def test_an_exception_that_cannot_be_rebuilt_is_a_task_failed(
    failing: Any, jtask_worker: StartWorker
) -> None:
    jtask_worker(failing)
    error = failing.delay("odd").exception(PATIENCE)
    assert isinstance(error, TaskFailed)
    assert isinstance(error, RunFailed)
    assert "Odd: 1 and 2" in str(error)
    assert "raise Odd(1, 2)" in str(error.__cause__)


@kinds
@pytest.mark.parametrize(
    ("kind", "name"), [("exit", "SystemExit"), ("interrupt", "KeyboardInterrupt")]
)
def test_a_base_exception_crashes_its_run_and_not_the_worker(
    failing: Any, kind: str, name: str, jtask_worker: StartWorker
) -> None:
    jtask_worker(failing, add)
    run = failing.delay(kind)
    error = run.exception(PATIENCE)
    assert isinstance(error, RunFailed)
    assert run.state.name is StateName.CRASHED
    assert name in str(error)
    assert add.delay(1).result(PATIENCE) == 2


def test_a_base_exception_comes_back_as_run_crashed(jtask_worker: StartWorker) -> None:
    jtask_worker(fail)
    error = fail.delay("exit").exception(PATIENCE)
    assert isinstance(error, RunCrashed)
    assert str(error) == "the task raised SystemExit: 3"
    assert "raise SystemExit(3)" in str(error.__cause__)


@kinds
def test_a_task_that_cancels_itself_is_cancelled(failing: Any, jtask_worker: StartWorker) -> None:
    jtask_worker(failing)
    run = failing.delay("cancel")
    assert isinstance(run.exception(PATIENCE), RunCancelled)
    assert run.state.name is StateName.CANCELLED


@kinds
def test_a_cancelled_error_from_inside_is_a_crash(failing: Any, jtask_worker: StartWorker) -> None:
    jtask_worker(failing, add)
    run = failing.delay("cancelled")
    assert run.exception(PATIENCE) is not None
    assert run.state.name is StateName.CRASHED
    assert add.delay(1).result(PATIENCE) == 2


@kinds
def test_a_stop_iteration_fails_its_run(failing: Any, jtask_worker: StartWorker) -> None:
    jtask_worker(failing)
    run = failing.delay("stop")
    error = run.exception(PATIENCE)
    assert isinstance(error, Exception)
    assert run.state.name is StateName.FAILED


def test_a_result_that_cannot_be_stored_fails_the_run_naming_the_ways_out(
    jtask_worker: StartWorker,
) -> None:
    @task
    def make() -> Any:
        return object()

    @task
    def lie() -> int:
        return "text"  # type: ignore[return-value]

    jtask_worker(make, lie)
    for work in (make, lie):
        run = work.delay()
        error = run.exception(PATIENCE)
        assert isinstance(error, SerializationError)
        assert run.state.name is StateName.FAILED
        assert f"the result of task {work.name!r}" in str(error)
    text = str(make.delay().exception(PATIENCE))
    assert "annotate what the function returns" in text
    assert 'serializer="cloudpickle"' in text


def test_arguments_that_do_not_fit_the_workers_code_fail_the_run(worker: RunningWorker) -> None:
    run_id = get_client().ids.new()
    handle = get_run(run_id, add)
    send(Envelope(run_id, add.key, "add", "json", b'{"a":"x"}', 1.0).encode(), add.queue, run_id)
    error = handle.exception(PATIENCE)
    assert isinstance(error, ArgumentError)
    assert "argument 'a' must be a valid integer" in str(error)


def test_a_refused_run_is_not_sent(jtask_plugin: Callable[[object], None]) -> None:
    class Closed:
        @hookimpl
        def jtask_enqueue(self, request: Any) -> None:
            assert request.task.name == "work"
            assert (request.args, request.kwargs) == ((1,), {"b": 2})
            raise RunRefused("closed on Sundays")

    jtask_plugin(Closed())

    @task
    def work(a: int, b: int) -> None: ...

    with pytest.raises(RunRefused, match="closed on Sundays"):
        work.delay(1, b=2)
    assert on_io(lambda broker: broker.queues.depth(work.queue)) == 0


# --- what travels with a run ---------------------------------------------------------------------


def test_tags_parent_and_headers_travel_along(
    jtask_worker: StartWorker, jtask_plugin: Callable[[object], None]
) -> None:
    class Trace:
        @hookimpl
        def jtask_enqueue(self, request: Any) -> None:
            request.headers["trace"] = f"of {request.task.name}"

    jtask_plugin(Trace())

    @task(tags=["own"])
    def inner() -> dict[str, Any]:
        names = ("run_id", "parent_id", "queue", "worker", "attempt")
        facts: dict[str, Any] = {name: getattr(runtime, name) for name in names}
        return facts | {"tags": list(runtime.tags), "headers": dict(runtime.headers)}

    @task
    async def outer() -> list[Any]:
        with jtask.tags("a", "b"):
            run = await inner.adelay()
        return [runtime.run_id, run.run_id, await run]

    worker = jtask_worker(inner, outer)
    own, child, facts = outer.delay().result(PATIENCE)
    assert facts == {
        "run_id": child,
        "parent_id": own,
        "queue": inner.queue,
        "worker": worker.info.name,
        "attempt": 1,
        "tags": ["own", "a", "b"],
        "headers": {"trace": "of inner"},
    }


def test_plain_tasks_run_in_threads_and_asynchronous_ones_on_one_loop(
    jtask_worker: StartWorker,
) -> None:
    meeting = threading.Barrier(3)

    @task
    def meet() -> str:
        meeting.wait(PATIENCE)
        return threading.current_thread().name

    @task
    async def where() -> str:
        return threading.current_thread().name

    jtask_worker(meet, where, concurrency=3)
    names = {run.result(PATIENCE) for run in meet.delay_many([()] * 3)}
    assert len(names) == 3
    names |= {run.result(PATIENCE) for run in where.delay_many([()] * 5)}
    assert len(names) == 4
    assert threading.current_thread().name not in names
    assert "jtask-io" not in names


def test_never_more_runs_than_slots_execute(jtask_worker: StartWorker) -> None:
    lock, now, most = threading.Lock(), 0, 0

    @task
    async def work() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        await asyncio.sleep(0.005)
        with lock:
            now -= 1

    jtask_worker(work, concurrency=3)
    for run in work.delay_many([()] * 30):
        run.result(PATIENCE)
    assert most == 3


# --- runs that a worker cannot execute -----------------------------------------------------------


def test_a_run_of_an_unknown_task_is_put_off_and_reported(
    jtask_worker: StartWorker, jtask_plugin: Callable[[object], None]
) -> None:
    reports: list[tuple[str, str, str]] = []

    class Watch:
        @hookimpl
        def jtask_rejected(self, run_id: str, queue: str, reason: str) -> None:
            reports.append((run_id, queue, reason))

    jtask_plugin(Watch())
    jtask_worker(add)
    run_id = get_client().ids.new()
    body = Envelope(run_id, "other-key", "other", "json", b"{}", 1.0).encode()
    send(body, add.queue, run_id)
    eventually(lambda: reports)
    assert reports == [(run_id, add.queue, "no task with the key 'other-key' is served here")]
    assert letters() == []
    # What can still be cancelled waits.
    eventually(lambda: on_io(lambda broker: broker.runs.cancel(run_id)))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"hello", "the first line is not JSON"),
        (b'{"v":99}\n', "the envelope is of version 99, this reads up to 1"),
        (b'{"v":1,"id":"x"}\n{}', "the envelope has no field 'task'"),
    ],
)
def test_an_unreadable_message_is_dead_lettered_and_its_waiter_told(
    body: bytes, reason: str, worker: RunningWorker
) -> None:
    run_id = get_client().ids.new()
    handle = get_run(run_id)
    send(body, add.queue, run_id)
    error = handle.exception(PATIENCE)
    assert isinstance(error, RunFailed)
    assert str(error) == f"the message cannot be read: {reason}"
    (letter,) = eventually(letters)
    assert (letter.run_id, letter.queue) == (run_id, add.queue)
    assert letter.reason == f"the message cannot be read: {reason}"
    head, _, message = letter.body.partition(b"\n")
    assert message == body
    assert json.loads(head)["reason"] == letter.reason
    assert add.delay(1).result(PATIENCE) == 2


def test_a_run_whose_arguments_blob_is_gone_is_dead_lettered() -> None:
    run = add.delay(1)  # for a client
    run_id = get_client().ids.new()
    handle = get_run(run_id, add)
    send(
        Envelope(run_id, add.key, "add", "json", b"", time.time(), blob=99).encode(),
        add.queue,
        run_id,
    )
    with run_worker(add):
        assert run.result(PATIENCE) == 2
        error = handle.exception(PATIENCE)
    assert isinstance(error, RunCrashed)
    assert "are no longer kept as they were sent" in str(error)
    assert [letter.run_id for letter in letters()] == [run_id]


def test_a_plugin_that_breaks_jtask_itself_crashes_the_run_once(
    jtask_plugin: Callable[[object], None],
    jtask_worker: StartWorker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Wrong:
        @hookimpl
        def jtask_lookup(self, run: Any) -> Outcome:
            return Outcome(State(StateName.ROLLED_BACK, 0.0), 1)

    jtask_plugin(Wrong())

    @task
    def work() -> int:
        return 1

    jtask_worker(work)
    with caplog.at_level(logging.ERROR, "jtask.worker"):
        run = work.delay()
        assert isinstance(run.exception(PATIENCE), RunCrashed)
    assert "jtask could not execute the run: IllegalTransition" in run.state.message
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert [line.partition(": ")[0] for line in said] == [f"run {run.run_id} is set aside"]


# --- coming back ---------------------------------------------------------------------------------


def test_a_retry_comes_back_as_the_same_run_with_its_history(
    jtask_plugin: Callable[[object], None], jtask_worker: StartWorker
) -> None:
    class Requeue:
        @hookimpl
        def jtask_failed(self, run: Any, error: BaseException) -> Any:
            return Retry(time.time(), "once more") if run.attempt < 3 else None

    jtask_plugin(Requeue())

    @task
    def work(fine_at: int) -> list[Any]:
        if runtime.attempt < fine_at:
            raise ValueError(f"attempt {runtime.attempt}")
        return [runtime.run_id, [[a.number, a.reason] for a in runtime.history]]

    jtask_worker(work)
    run = work.delay(3)
    assert run.result(PATIENCE) == [run.run_id, [[1, "once more"], [2, "once more"]]]
    assert run.attempt == 3
    hopeless = work.delay(9)
    assert str(hopeless.exception(PATIENCE)) == "attempt 3"
    assert hopeless.info is not None
    assert [attempt.number for attempt in hopeless.info.history] == [1, 2]


def test_a_run_that_must_wait_holds_no_slot(
    jtask_plugin: Callable[[object], None], jtask_worker: StartWorker
) -> None:
    asked: list[str] = []

    class Gate:
        @hookimpl
        def jtask_admit(self, run: Any) -> Any:
            asked.append(run.task_name)
            late = run.task_name == "gated" and asked.count("gated") < 3
            return Retry(time.time() + 0.05, "limit") if late else None

    jtask_plugin(Gate())

    @task
    def gated() -> Any:
        return runtime.attempt

    @task
    def free() -> None: ...

    jtask_worker(gated, free, concurrency=1)
    run = gated.delay()
    free.delay().result(PATIENCE)
    assert run.result(PATIENCE) == 1
    assert asked.count("gated") == 3


def test_a_stopping_worker_finishes_what_it_executes(jtask_worker: StartWorker) -> None:
    started, go_on = threading.Event(), threading.Event()

    @task
    def work() -> int:
        started.set()
        assert go_on.wait(PATIENCE)
        return 7

    worker = jtask_worker(work, concurrency=1)
    run, waiting = work.delay(), work.delay()
    assert started.wait(PATIENCE)
    handed_back: list[int] = []
    stopping = threading.Thread(target=lambda: handed_back.append(worker.stop(PATIENCE)))
    stopping.start()
    reason = "handed back before it started"
    eventually(lambda: reason in {event.detail for event in events_of(waiting.run_id)})
    go_on.set()
    stopping.join()
    assert run.result(PATIENCE) == 7
    assert handed_back == [1]
    assert not waiting.wait(0.01)
    with run_worker(work):
        assert waiting.result(PATIENCE) == 7


def test_a_stopping_worker_hands_back_what_does_not_finish(jtask_worker: StartWorker) -> None:
    starts: list[int] = []

    @task
    async def work() -> int:
        starts.append(runtime.attempt)
        if len(starts) == 1:
            await asyncio.Event().wait()
        return 7

    worker = jtask_worker(work)
    run = work.delay()
    eventually(lambda: starts)
    assert worker.stop(timeout=0.01) == 1
    with run_worker(work):
        assert run.result(PATIENCE) == 7
    assert starts == [1, 1]


def test_two_workers_share_the_runs_and_none_is_executed_twice(jtask_worker: StartWorker) -> None:
    seen: list[Any] = []

    @task
    async def work(number: int) -> None:
        seen.append(number)

    for _ in range(2):
        jtask_worker(work, concurrency=2)
    for run in work.delay_many([(n,) for n in range(300)]):
        run.result(PATIENCE)
    assert sorted(seen) == list(range(300))


def test_the_first_outcome_counts(worker: RunningWorker) -> None:
    run = add.delay(1)
    run.result(PATIENCE)
    another = OutcomeRecord(run.run_id, b"another")
    assert on_io(lambda broker: broker.results.put(another)) is False
    assert get_run(run.run_id, add).result(PATIENCE) == 2


@pytest.mark.usefixtures("worker")
def test_a_result_that_does_not_fit_the_given_task_says_whose_it_is() -> None:
    run_id = add.delay(1).run_id
    with pytest.raises(SerializationError) as raised:
        get_run(run_id, take_words).result(PATIENCE)
    assert str(raised.value).startswith(
        f"run {run_id} is one of task {add.key!r}, and is read as one of {take_words.key!r}: "
    )
    assert get_run(run_id, add).result(PATIENCE) == 2


def test_a_workers_plugins_hear_of_its_start_and_stop(
    jtask_plugin: Callable[[object], None], jtask_worker: StartWorker
) -> None:
    heard: list[Any] = []

    class Watch:
        @hookimpl
        @contextlib.asynccontextmanager
        async def jtask_worker(self, worker: Any) -> AsyncIterator[None]:
            heard.append(("started", worker))
            stopping = asyncio.create_task(self._wait_for_stop(worker))
            yield
            await stopping

        async def _wait_for_stop(self, worker: Any) -> None:
            await worker.worker.stopping()
            heard.append(("stopping", worker))

    jtask_plugin(Watch())
    worker = jtask_worker(add, concurrency=4)
    assert heard == [("started", worker.info)]
    assert worker.info.tasks == (add,)
    assert worker.info.queues == (add.queue,)
    assert worker.info.concurrency == 4
    assert worker.info.url == get_client().broker.url
    assert worker.problem() is None
    worker.stop()
    assert heard[1:] == [("stopping", worker.info)]


def test_a_stopped_worker_leaves_no_thread_behind(jtask_worker: StartWorker) -> None:
    # Another test may have left one behind that still executes.
    before = set(threading.enumerate())
    worker = jtask_worker(add, slow_add)
    add.delay(1).result(PATIENCE)
    slow_add.delay(1).result(PATIENCE)
    mine = {t for t in threading.enumerate() if t.name.startswith("jtask-task")} - before
    assert len(mine) >= 2
    worker.stop()
    eventually(lambda: not mine & set(threading.enumerate()))


# --- other processes -----------------------------------------------------------------------------

FORKING = """
import os, sys
from jtask import task
from jtask.testing import run_worker

@task
def add(a: int, b: int) -> int:
    return a + b

with run_worker(add):
    first = add.delay(1, 2)
    assert first.result(30) == 3
    child = os.fork()
    if child == 0:
        # A new process: its own broker space, connection and id.
        code = 1
        try:
            with run_worker(add):
                run = add.delay(3, 4)
                assert run.run_id[-10:] != first.run_id[-10:]
                assert run.result(30) == 7
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert add.delay(5, 6).result(30) == 11
print("fine")
"""


def test_a_process_that_forks_after_its_first_use_works_on_and_so_does_the_child() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING],
        env=os.environ | {"JTASK_URL": "memory://fork"},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr


def test_a_program_that_ends_sends_what_it_delayed_and_ends_at_once() -> None:
    code = """
from jtask import task
@task
def f(a: int) -> int: return a
run = f.delay(1)
assert not run.wait(0.01)
print("fine")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"JTASK_URL": "memory://ending"},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("fine\n", "", 0)


def test_what_is_sent_is_an_envelope_that_docs_describe() -> None:
    bodies: list[bytes] = []
    add.delay(1)

    async def take(broker: Broker) -> None:
        arrived = asyncio.Event()

        def receive(delivery: Any) -> None:
            bodies.append(delivery.body)
            delivery.ack()
            arrived.set()

        consumption = await broker.runs.consume([add.queue], 1, receive)
        await asyncio.wait_for(arrived.wait(), PATIENCE)
        await consumption.close()

    on_io(take)
    envelope = decode_envelope(bodies[0])
    assert (envelope.task_key, envelope.task_name) == (add.key, "add")
    assert json.loads(envelope.payload) == {"a": 1}
