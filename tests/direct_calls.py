"""Call a function as a task, plain or as a coroutine."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from jtask import task


def call_plain(body: Callable[[], Any], **options: Any) -> Any:
    """Call what it does as a plain task with these options."""

    @task(**options)
    def work() -> Any:
        return body()

    return work()


def call_async(body: Callable[[], Any], **options: Any) -> Any:
    """Do `call_plain`, with a coroutine function on a loop of its own."""

    @task(**options)
    async def work() -> Any:
        await asyncio.sleep(0)
        return body()

    return asyncio.run(work())


both = pytest.mark.parametrize("call", [call_plain, call_async])
