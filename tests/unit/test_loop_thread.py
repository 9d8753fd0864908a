"""Threads with an event loop, of which each process has one of a kind."""

import os
import threading
from collections.abc import Callable

import pytest

from jtask.client.io_thread import get_io_thread
from jtask.execution.hooks_loop import get_hooks_loop
from jtask.execution.loop_thread import LoopThread


@pytest.mark.parametrize(
    ("get", "name"), [(get_io_thread, "jtask-io"), (get_hooks_loop, "jtask-hooks")]
)
def test_a_process_has_one_and_a_forked_child_gets_its_own(
    get: Callable[[], LoopThread], name: str
) -> None:
    thread = get()
    assert get() is thread
    assert thread.run(_name_of_thread()) == name
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        own = get()
        works = own is not thread and own.run(_name_of_thread(), timeout=20) == name
        os.write(write, b"yes" if works else b"no")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 10) == b"yes"
    os.close(read)
    os.close(write)
    assert thread.run(_name_of_thread()) == name


async def _name_of_thread() -> str:
    return threading.current_thread().name
