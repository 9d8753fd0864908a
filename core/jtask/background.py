"""Tasks of an event loop that go on beside their starter."""

import asyncio
from collections.abc import Collection, Coroutine, Iterator
from contextvars import Context
from typing import Any


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
