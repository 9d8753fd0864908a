"""Ask several streams as if they were one."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from jtask.background import end_all
from jtask.errors import BrokerError

T = TypeVar("T")


async def first_found(searches: Iterable[Coroutine[Any, Any, T | None]]) -> T | None:
    """Return what the first of some searches finds, anything that is true.

    Waits for the others only as long as none has found it: a stream without a leader answers late.

    Raises:
        BrokerError: None has found it, and one of them raised this.
    """
    tasks = [asyncio.ensure_future(search) for search in searches]
    failed: BrokerError | None = None
    try:
        for answer in asyncio.as_completed(tasks):
            try:
                found = await answer
            except BrokerError as error:
                failed = error
            else:
                if found:
                    return found
    finally:
        await end_all(tasks)
    if failed is not None:
        raise failed
    return None


async def merged(
    sources: Sequence[AsyncIterator[T]], order: Callable[[T], float]
) -> AsyncIterator[T]:
    """Yield from several sources, each in order, what comes first by a number."""
    waiting: list[tuple[float, int, T]] = []
    for number, source in enumerate(sources):
        async for first in source:
            waiting.append((order(first), number, first))
            break
    heapq.heapify(waiting)
    while waiting:
        _, number, one = waiting[0]
        yield one
        async for following in sources[number]:
            heapq.heapreplace(waiting, (order(following), number, following))
            break
        else:
            heapq.heappop(waiting)
