"""What a worker calls in place of a generator function: it reads the generator to its end.

Each item goes to whoever has set `RunContext.emit`, such as a plugin that sends it to the broker.
"""

import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import aclosing, closing
from typing import Any

from jtask.runtime import current_run


def exhausting(fn: Callable[..., Generator[Any, Any, Any]]) -> Callable[..., Any]:
    """Return a function that does all that a generator function does, and returns what it does."""

    @functools.wraps(fn)
    def exhaust(*args: Any, **kwargs: Any) -> Any:
        emit = _emit()
        with closing(fn(*args, **kwargs)) as generator:
            while True:
                try:
                    item = next(generator)
                except StopIteration as stop:
                    return stop.value
                if emit is not None:
                    emit(item)

    return exhaust


def exhausting_async(
    fn: Callable[..., AsyncGenerator[Any, Any]],
) -> Callable[..., Coroutine[Any, Any, None]]:
    """Return a coroutine function that does all that an asynchronous generator function does."""

    @functools.wraps(fn)
    async def exhaust(*args: Any, **kwargs: Any) -> None:
        emit = _emit()
        async with aclosing(fn(*args, **kwargs)) as generator:
            async for item in generator:
                if emit is not None:
                    await emit(item)

    return exhaust


def _emit() -> Callable[[Any], Any] | None:
    run = current_run()
    return None if run is None else run.emit
