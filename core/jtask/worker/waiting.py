"""Wait for something that happens once, or for what happens first."""

import asyncio
import concurrent.futures
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Latch(Generic[T]):
    """Something that happens once, for any thread to look at and any event loop to await.

    The first value counts.

    Attributes:
        is_set: Whether it has happened.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._value: concurrent.futures.Future[T] = concurrent.futures.Future()

    def set(self, value: T) -> None:
        """Let it have happened; always from the same thread."""
        if not self.is_set:
            self.is_set = True
            self._value.set_result(value)

    async def wait(self) -> T:
        """Return the value once there is one."""
        # Waited for and not awaited: who is cancelled would cancel it for everybody.
        await asyncio.wait([asyncio.wrap_future(self._value)])
        return self._value.result()


async def first_of(*waits: Coroutine[Any, Any, Any], timeout: float) -> None:
    """Return once one of several has ended, and cancel the others.

    Args:
        waits: What to wait for.
        timeout: Seconds after which to return anyway.
    """
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
