"""A signal ends whatever wait of the main thread, also one that came as the thread was to block."""

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Generator

import pytest
from in_process import on_each_broker
from waiting import eventually

from jtask import Run, get_run, task
from jtask.client import get_client
from jtask.futures import as_completed, wait

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


@task
def work(n: int = 0) -> int:
    return n


WAITS: dict[str, Callable[[list[Run[int]]], object]] = {
    "result": lambda runs: runs[0].result(),
    "result in time": lambda runs: runs[0].result(600),
    "run of any process": lambda runs: get_run(runs[0].run_id).wait(),
    "wait for many": wait,
    "as they are completed": lambda runs: next(as_completed(runs)),
    "ask the broker": lambda _: get_client().run(asyncio.sleep(600)),
}


@pytest.fixture
def interrupts() -> Generator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("waiting", WAITS.values(), ids=WAITS)
def test_a_signal_that_does_not_wake_the_main_thread_ends_its_wait(
    waiting: Callable[[list[Run[int]]], object],
) -> None:
    runs = [work.delay(), work.delay()]
    main, begins = threading.get_ident(), threading.Event()

    def blocks() -> bool:
        return sys._current_frames()[main].f_code.co_name in ("wait", "_get")

    def interrupt() -> None:
        begins.wait()
        eventually(blocks)
        # To this thread: Python notes it, and the main one stays in its lock.
        signal.raise_signal(signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()
    begins.set()
    with pytest.raises(KeyboardInterrupt):
        waiting(runs)
    other.join()
