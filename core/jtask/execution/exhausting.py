"""What is called in place of a generator function whose caller does not read: it reads to the end.

Each item goes to whoever has set `RunContext.emit`, such as a plugin that sends it to the broker. A
submitted run, whose items nobody could read there, has the list of them as its value.
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
            if _is_submitted():
                return list(generator)
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
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return a coroutine function that does all that an asynchronous generator function does."""

    @functools.wraps(fn)
    async def exhaust(*args: Any, **kwargs: Any) -> Any:
        emit = _emit()
        async with aclosing(fn(*args, **kwargs)) as generator:
            if _is_submitted():
                return [item async for item in generator]
            async for item in generator:
                if emit is not None:
                    await emit(item)
        return None

    return exhaust


def _emit() -> Callable[[Any], Any] | None:
    run = current_run()
    return None if run is None else run.emit


def _is_submitted() -> bool:
    run = current_run()
    return run is not None and run.is_submitted
