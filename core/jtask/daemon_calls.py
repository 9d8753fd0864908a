"""Calls that block, in daemon threads: the program can end while they go on.

`asyncio.to_thread` is for what ends soon: `asyncio.run` does not return, not even after Ctrl-C,
before all that it was given is done.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


def call_in_daemon(name: str, function: Callable[..., T], *args: object) -> "asyncio.Future[T]":
    """Call a function in a thread of its own, with the caller's context variables.

    Args:
        name: The thread's name.
        function: What to call; it goes on when nobody awaits it any more.
        args: Its arguments.

    Returns:
        asyncio.Future: What it returns or raises.
    """
    answer: concurrent.futures.Future[T] = concurrent.futures.Future()

    def call() -> None:
        # From here on it cannot be cancelled, and will be told how it ended.
        if not answer.set_running_or_notify_cancel():
            return
        try:
            answer.set_result(function(*args))
        except BaseException as error:
            answer.set_exception(error)

    context = copy_context()
    threading.Thread(target=context.run, args=(call,), name=name, daemon=True).start()
    return asyncio.wrap_future(answer)
