"""Run coroutines to their end from a thread without an event loop."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Coroutine
from contextvars import copy_context
from typing import Any

from jtask.signal_safety import wait_steps


def run_sync(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end without an event loop.

    Its run must be `blocking`, so that what asynchronous hooks return is awaited on the loop of the
    hooks while this thread waits, and nothing ever suspends here.

    Args:
        coroutine: What to run.

    Returns:
        Any: What the coroutine returns; what it raises is raised.

    Raises:
        RuntimeError: It suspended.
    """
    try:
        # One step must be the whole: no loop would ever take the next.
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError("the code of a plain task suspended")


def await_here(answer: Any) -> Any:
    """Return an answer; if it is awaitable, await it on a loop of its own in this thread.

    A user's coroutine must not be awaited on the I/O thread: if it blocked, leases would be lost.
    """
    if not inspect.isawaitable(answer):
        return answer
    if not _has_running_loop():
        return asyncio.run(_awaited(answer))
    return _finish_elsewhere(answer)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _has_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _finish_elsewhere(awaitable: Awaitable[Any]) -> Any:
    """Await in a short-lived thread: a plain task was called directly in a coroutine."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(_awaited(awaitable)))
        except BaseException as error:
            errors.append(error)

    # With this context: `jtask.runtime` is read from it.
    thread = threading.Thread(target=copy_context().run, args=(run,), name="jtask-await")
    thread.start()
    for seconds in wait_steps(None):
        thread.join(seconds)
        if not thread.is_alive():
            break
    if errors:
        raise errors[0]
    return results[0]
