"""Lines of runs' logs: collected within bounds, sent in batches, never waited for."""

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import pytest
from waiting import eventually

from jtask.client import log_buffer
from jtask.client.io_thread import IoThread
from jtask.client.log_buffer import LogBuffer
from jtask.contract import LogLine, LogPage, Subscription
from jtask.errors import BrokerUnavailable, PermissionDenied


class Store:
    """A store that keeps the batches, once it is open."""

    def __init__(self) -> None:
        self.batches: list[list[LogLine]] = []
        self.tries = 0
        self.is_open = threading.Event()
        self.is_open.set()
        self.error: Exception = BrokerUnavailable("away")

    async def append(self, lines: Sequence[LogLine]) -> None:
        self.tries += 1
        if not self.is_open.is_set():
            raise self.error
        self.batches.append(list(lines))

    def read(
        self, run_id: str, *, after: int = 0, to_the_last: bool = False
    ) -> AsyncIterator[LogPage]:
        raise NotImplementedError

    async def watch(self, run_id: str, on_news: Callable[[], None]) -> Subscription:
        raise NotImplementedError

    @property
    def numbers(self) -> list[int]:
        return [line.number for batch in self.batches for line in batch]


@pytest.fixture
def io() -> Iterator[IoThread]:
    thread = IoThread("test-io")
    yield thread
    thread.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_buffer, "_PAUSE", 0.01)


def line(number: int, message: str = "x") -> LogLine:
    return LogLine("run", float(number), 20, "shop", message, 1, "w", number)


def test_lines_arrive_in_order_in_few_batches(io: IoThread) -> None:
    store = Store()
    buffer = LogBuffer(io, store)
    for number in range(5000):
        assert buffer.add(line(number))
    eventually(lambda: len(store.numbers) == 5000)
    assert store.numbers == list(range(5000))
    assert len(store.batches) < 100


def test_a_line_that_comes_after_all_were_sent_is_sent_too(io: IoThread) -> None:
    store = Store()
    buffer = LogBuffer(io, store)
    for number in range(5):
        buffer.add(line(number))
        eventually(lambda number=number: store.numbers == list(range(number + 1)))


def test_what_is_beyond_the_bounds_is_refused_and_nothing_waits(
    io: IoThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_buffer, "_MOST_LINES", 10)
    monkeypatch.setattr(log_buffer, "_MOST_CHARACTERS", 1000)
    store = Store()
    store.is_open.clear()
    buffer = LogBuffer(io, store)
    taken = [buffer.add(line(number)) for number in range(1000)]
    assert taken[:10] == [True] * 10
    assert not taken[-1]
    store.is_open.set()
    eventually(lambda: len(store.numbers) == sum(taken))
    assert buffer.add(line(1001, "y" * 1000))
    assert not buffer.add(line(1002, "y" * 1000))


def test_a_batch_is_sent_again_as_it_was_until_the_broker_is_back(io: IoThread) -> None:
    store = Store()
    store.is_open.clear()
    buffer = LogBuffer(io, store)
    buffer.add(line(1))
    eventually(lambda: store.tries > 2)
    buffer.add(line(2))
    store.is_open.set()
    eventually(lambda: store.numbers == [1, 2])
    assert store.batches == [[line(1)], [line(2)]]


def test_lines_that_the_broker_refuses_are_lost_with_one_warning_and_the_next_are_not(
    io: IoThread, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store()
    store.error = PermissionDenied("not you")
    store.is_open.clear()
    buffer = LogBuffer(io, store)
    for number in range(3):
        tries = store.tries
        buffer.add(line(number))
        eventually(lambda tries=tries: store.tries > tries)
    store.is_open.set()
    eventually(lambda: buffer.add(line(7)) and 7 in store.numbers)
    assert set(store.numbers) == {7}
    warnings = [it for it in caplog.records if it.levelno == logging.WARNING]
    assert [it.getMessage() for it in warnings] == ["lines of runs' logs are lost: not you"]


def test_flush_sends_what_is_there_and_gives_up_when_its_time_is_over(
    io: IoThread, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store()
    buffer = LogBuffer(io, store)
    buffer.add(line(1))
    io.run(buffer.flush(20))
    assert store.numbers == [1]
    store.is_open.clear()
    buffer.add(line(2))
    io.run(buffer.flush(0.05))
    assert "did not take" in caplog.text
