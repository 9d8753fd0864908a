"""What a worker calls in place of a generator function: it reads the generator to its end."""

import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any


def exhausting(fn: Callable[..., Generator[Any, Any, Any]]) -> Callable[..., Any]:
    """Return a function that does all that a generator function does, and returns what it does."""

    @functools.wraps(fn)
    def exhaust(*args: Any, **kwargs: Any) -> Any:
        generator = fn(*args, **kwargs)
        while True:
            try:
                next(generator)
            except StopIteration as stop:
                return stop.value

    return exhaust


def exhausting_async(
    fn: Callable[..., AsyncGenerator[Any, Any]],
) -> Callable[..., Coroutine[Any, Any, None]]:
    """Return a coroutine function that does all that an asynchronous generator function does."""

    @functools.wraps(fn)
    async def exhaust(*args: Any, **kwargs: Any) -> None:
        async for _ in fn(*args, **kwargs):
            pass

    return exhaust
