"""What many threads say to the I/O thread comes in order, together, and once."""

import threading
from collections.abc import Iterator, Sequence

import pytest

from jtask.client.gathered import Gathered
from jtask.client.io_thread import IoThread


@pytest.fixture
def io() -> Iterator[IoThread]:
    thread = IoThread("test-io")
    yield thread
    thread.stop()


async def nothing() -> None:
    """Come behind what was posted before."""


def test_what_comes_while_the_thread_is_busy_is_taken_together(io: IoThread) -> None:
    taken: list[Sequence[int]] = []
    gathered = Gathered[int](io, taken.append)
    is_free = threading.Event()
    io.post(is_free.wait)
    for number in range(10):
        gathered.add(number)
    is_free.set()
    io.run(nothing())
    assert taken == [list(range(10))]


def test_nothing_is_lost_or_taken_twice_when_many_threads_add(io: IoThread) -> None:
    taken: list[int] = []
    gathered = Gathered[int](io, taken.extend)

    def add(first: int) -> None:
        for number in range(first, first + 1000):
            gathered.add(number)

    threads = [threading.Thread(target=add, args=(1000 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    io.run(nothing())
    assert sorted(taken) == list(range(8000))


def test_what_is_added_while_some_is_taken_is_taken_next(io: IoThread) -> None:
    taken: list[Sequence[int]] = []
    done = threading.Event()

    def take(items: Sequence[int]) -> None:
        taken.append(items)
        if items == [1]:
            gathered.add(2)
        else:
            done.set()

    gathered = Gathered[int](io, take)
    gathered.add(1)
    assert done.wait(30)
    assert taken == [[1], [2]]
