"""Wait for a condition instead of sleeping: only a test that fails waits long."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 40.0  # seconds; the machine may be busy


def eventually(condition: Callable[[], T]) -> T:
    """Wait until a condition holds, and return what it gave."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)
    return found


async def until(condition: Callable[[], object]) -> None:
    """Do `eventually` on an event loop; the condition may be a coroutine function."""
    async with asyncio.timeout(PATIENCE):
        while not await _value(condition()):
            await asyncio.sleep(0.005)


async def _value(found: object) -> object:
    return await found if inspect.isawaitable(found) else found
