"""Look into the queues and hold them up."""

from collections.abc import AsyncIterator

from jtask.contract import QueueInfo, WaitingRun
from jtask_memory.client import SpaceClient


class MemoryQueues(SpaceClient):
    """The contract's `Queues`."""

    async def queues(self) -> list[QueueInfo]:
        """Return all queues that hold runs, are served or are paused, by name."""
        space = self._space
        with space.lock:
            return space.backlog.queues(space.wakers.names(), self._now())

    async def pause_queue(self, queue: str, until: float | None = None) -> None:
        """Deliver nothing of a queue until an instant; None is for ever."""
        space = self._space
        with space.lock:
            space.backlog.pause(queue, until)
        # Whoever waits for the next instant must hear that it is another one.
        space.wake([queue])

    async def resume_queue(self, queue: str) -> bool:
        """End a pause; False when there was none."""
        space = self._space
        with space.lock:
            paused = space.backlog.resume(queue, self._now())
        space.wake([queue])
        return paused

    async def waiting(self, queue: str | None = None) -> AsyncIterator[WaitingRun]:
        """Yield the waiting and delayed runs of one queue or of all, oldest first."""
        space = self._space
        with space.lock:
            runs = space.backlog.waiting(queue, self._now())
        for run in runs:
            yield run

    async def find_waiting(self, run_id: str) -> WaitingRun | None:
        """Return a run that waits or is delayed, or None."""
        space = self._space
        with space.lock:
            return space.backlog.find(run_id, self._now())
