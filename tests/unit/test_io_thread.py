"""The thread that carries the broker's I/O."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from jtask.client.io_thread import IoThread


@pytest.fixture
def io() -> Iterator[IoThread]:
    thread = IoThread("test-io")
    yield thread
    thread.stop()


async def name_of_thread() -> str:
    return threading.current_thread().name


async def fail() -> None:
    raise ValueError("no")


def test_a_coroutine_runs_on_the_thread_and_gives_its_value(io: IoThread) -> None:
    assert io.run(name_of_thread()) == "test-io"
    assert not io.is_current


def test_what_a_coroutine_raises_comes_out(io: IoThread) -> None:
    with pytest.raises(ValueError, match="no"):
        io.run(fail())


def test_any_loop_can_await_what_runs_on_the_thread(io: IoThread) -> None:
    async def main() -> str:
        return await io.bridge(name_of_thread())

    assert asyncio.run(main()) == "test-io"
    assert io.run(io.bridge(name_of_thread())) == "test-io"


def test_a_bridge_that_is_cancelled_cancels_what_runs(io: IoThread) -> None:
    cancelled = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def main() -> None:
        waiting = asyncio.ensure_future(io.bridge(wait()))
        while not waiting.done():
            await asyncio.sleep(0)
            if (await io.bridge(count_tasks())) > 1:
                waiting.cancel()
                await asyncio.wait([waiting])

    async def count_tasks() -> int:
        return len(asyncio.all_tasks())

    asyncio.run(main())
    assert cancelled.wait(20)


def test_a_wait_that_would_never_end_is_refused(io: IoThread) -> None:
    async def wait_for_itself() -> Any:
        return io.run(name_of_thread())

    with pytest.raises(RuntimeError, match="in jtask's own I/O thread"):
        io.run(wait_for_itself())


def test_a_timeout_cancels_what_runs(io: IoThread) -> None:
    cancelled = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError):
        io.run(wait(), timeout=0.05)
    assert cancelled.wait(20)


def test_posted_calls_keep_their_order_over_many_threads(io: IoThread) -> None:
    seen: list[tuple[int, int]] = []

    def post(number: int) -> None:
        for count in range(500):
            io.post(seen.append, (number, count))

    threads = [threading.Thread(target=post, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deadline = time.monotonic() + 20
    while len(seen) < 4000 and time.monotonic() < deadline:
        io.run(name_of_thread())
    assert len(seen) == 4000
    for number in range(8):
        assert [c for n, c in seen if n == number] == list(range(500))


def test_a_posted_call_that_fails_is_logged_and_the_next_is_made(
    io: IoThread, caplog: pytest.LogCaptureFixture
) -> None:
    made = threading.Event()
    with caplog.at_level(logging.ERROR, "jtask"):
        io.post(lambda: 1 / 0)
        io.post(made.set)
        assert made.wait(20)
    assert [record.getMessage() for record in caplog.records] == ["a call on the I/O thread failed"]


def test_a_stopped_thread_is_gone() -> None:
    io = IoThread("short-lived")
    io.stop()
    assert "short-lived" not in {thread.name for thread in threading.enumerate()}
    assert io.loop.is_closed()
    io.stop()


def test_a_thread_that_is_stopped_cancels_what_it_executes() -> None:
    io = IoThread("short-lived")
    begun, ended = threading.Event(), list[str]()

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    future = io.submit(endless())
    assert begun.wait(20)
    io.stop()
    assert (ended, future.cancelled()) == (["cancelled"], True)
