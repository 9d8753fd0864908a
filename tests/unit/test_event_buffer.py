"""State events: collected, sent in batches, never waited for."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import pytest

from jtask import task
from jtask.client import event_buffer
from jtask.client.event_buffer import BATCH, EventBuffer
from jtask.client.io_thread import IoThread
from jtask.contract import Event, EventGroup
from jtask.execution import direct_call
from jtask.runtime import RunContext
from jtask.states import State, StateName


class Log:
    """An event log that keeps the batches, and tells when so many events have come."""

    def __init__(self) -> None:
        self.batches: list[list[Event]] = []
        self.threads: set[str] = set()
        self._changed = threading.Condition()

    def append(self, events: Sequence[Event]) -> None:
        with self._changed:
            self.batches.append(list(events))
            self.threads.add(threading.current_thread().name)
            self._changed.notify_all()

    def read(self, *, since: float | None = None) -> AsyncIterator[Event]:
        raise NotImplementedError

    def follow(self) -> AsyncIterator[Event]:
        raise NotImplementedError

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch]

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.events) >= count, 20)


@pytest.fixture
def io() -> Iterator[IoThread]:
    thread = IoThread("test-io")
    yield thread
    thread.stop()


def event(number: int) -> Event:
    return Event(f"run-{number}", "Running", float(number), "a-task")


def test_events_arrive_in_order_in_batches_from_the_io_thread(io: IoThread) -> None:
    log = Log()
    buffer = EventBuffer(io, log)
    count = 2 * BATCH + 1
    buffer.extend([event(n) for n in range(count)])
    log.wait_for(count)
    assert log.events == [event(n) for n in range(count)]
    assert max(map(len, log.batches)) <= BATCH
    assert log.threads == {"test-io"}


def test_events_after_a_flush_are_sent_by_the_next_one(io: IoThread) -> None:
    log = Log()
    buffer = EventBuffer(io, log)
    for number in range(3):
        buffer.add(event(number))
        log.wait_for(number + 1)
    assert log.events == [event(n) for n in range(3)]


def test_many_threads_lose_no_event(io: IoThread) -> None:
    log = Log()
    buffer = EventBuffer(io, log)

    def add(first: int) -> None:
        for number in range(first, first + 500):
            buffer.add(event(number))

    threads = [threading.Thread(target=add, args=(500 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.wait_for(4000)
    assert sorted(log.events) == sorted(event(n) for n in range(4000))


def test_adding_never_waits_for_the_log(io: IoThread) -> None:
    log, blocked = Log(), threading.Event()
    io.post(blocked.wait, 20)
    buffer = EventBuffer(io, log)
    buffer.extend([event(n) for n in range(10)])
    assert log.events == []
    blocked.set()
    log.wait_for(10)


def test_the_oldest_events_go_when_too_many_wait(
    io: IoThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_buffer, "_BUFFERED", 5)
    log, blocked = Log(), threading.Event()
    buffer = EventBuffer(io, log)
    io.post(blocked.wait, 20)
    buffer.extend([event(n) for n in range(8)])
    blocked.set()
    log.wait_for(5)
    assert log.events == [event(n) for n in range(3, 8)]


def test_many_small_groups_lose_no_event_and_share_batches(io: IoThread) -> None:
    log, blocked = Log(), threading.Event()
    io.post(blocked.wait, 20)
    buffer = EventBuffer(io, log)
    for number in range(0, 2 * BATCH, 2):
        run_ids = [event(n).run_id for n in (number, number + 1)]
        buffer.extend(EventGroup(event(0), run_ids, ["", ""], ["", ""]))
    blocked.set()
    log.wait_for(2 * BATCH)
    assert [one.run_id for one in log.events] == [event(n).run_id for n in range(2 * BATCH)]
    assert len(log.batches) == 2


def test_a_flush_sends_at_once(io: IoThread) -> None:
    log = Log()
    buffer = EventBuffer(io, log)

    async def add_and_flush() -> int:
        buffer.add(event(1))
        buffer.flush()
        return len(log.events)

    assert io.run(add_and_flush()) == 1


@task
def work() -> None: ...


def test_a_state_becomes_an_event_with_the_facts_of_its_run(io: IoThread) -> None:
    log = Log()
    buffer = EventBuffer(io, log)
    run = RunContext("an-id", work, created_at=0.0, attempt=2, worker="host-1")
    buffer.on_state(run, State(StateName.RETRYING, 12.5, "again"))
    log.wait_for(1)
    assert log.events == [
        Event("an-id", "Retrying", 12.5, work.key, attempt=2, worker="host-1", detail="again")
    ]


@pytest.fixture
def told() -> Iterator[list[str]]:
    states: list[str] = []
    emit: Callable[[RunContext, State], None] = lambda _, state: states.append(state.name)  # noqa: E731
    direct_call.on_state(emit)
    yield states
    direct_call.on_state(None)


def test_the_states_of_a_direct_call_are_recorded_while_connected(told: list[str]) -> None:
    work()
    assert told == ["Pending", "Running", "Completed"]
    direct_call.on_state(None)
    work()
    assert len(told) == 3


def test_a_direct_call_on_a_loop_is_recorded_too(told: list[str]) -> None:
    @task
    async def fail() -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        asyncio.run(fail())
    assert told == ["Pending", "Running", "Failed"]
