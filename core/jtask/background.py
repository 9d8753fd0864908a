"""Tasks of an event loop that go on beside their starter, and beside each other."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class BackgroundTasks:
    """Hold tasks that nobody awaits until they have ended.

    A loop holds its tasks weakly (see asyncio.create_task): one that nobody else holds may be
    collected while it waits.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator["asyncio.Task[None]"]:
        """Iterate over those that have not ended, as they are now."""
        return iter(list(self._tasks))

    def start(
        self, coroutine: Coroutine[Any, Any, None], *, context: Context | None = None
    ) -> None:
        """Run a coroutine on the running loop.

        Args:
            coroutine: What to run; what it raises is the loop's to report.
            context: Its context variables; a copy of the caller's when None.
        """
        task = asyncio.get_running_loop().create_task(coroutine, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait(self) -> None:
        """Return once all have ended, those included that are started meanwhile."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def cancel(self) -> None:
        """Cancel those that have not ended."""
        for task in self:
            task.cancel()


async def end_all(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Cancel tasks, and return once all have ended, whatever they raise."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def map_bounded(
    function: Callable[[T], Awaitable[R]], items: Collection[T], at_once: int
) -> list[R]:
    """Await a function of each item, some at once; return the results in the items' order.

    There are never more tasks than that: whatever looks at all tasks of the process, as each
    `asyncio.run` does when it ends, would look at a waiting one for each item.

    Args:
        function: What to await.
        items: Its argument for each call.
        at_once: How many calls go on together, at most.

    Raises:
        BaseException: What a call raised. No other is begun then, and those that were have ended.
    """
    left = (numbered for numbered in enumerate(items))
    results: dict[int, R] = {}

    async def call_in_turn() -> None:
        try:
            for place, item in left:
                results[place] = await function(item)
        except BaseException:
            left.close()
            raise

    calling = (call_in_turn() for _ in range(min(at_once, len(items))))
    for failure in await asyncio.gather(*calling, return_exceptions=True):
        if failure is not None:
            raise failure
    return [results[place] for place in range(len(items))]
