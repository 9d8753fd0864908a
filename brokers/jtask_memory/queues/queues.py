"""Inspect, pause and resume queues."""

from collections.abc import AsyncIterator

from jtask.contract import QueueInfo, RunPlace, WaitingRun, check_queue
from jtask_memory.storage.client import StoragePart


class MemoryQueues(StoragePart):
    """The contract's `Queues`."""

    async def list(self) -> list[QueueInfo]:
        """Return all queues that hold runs, are served or are paused, by name."""
        storage = self._storage
        with storage.lock:
            return storage.backlog.queues(storage.wakers.names(), self._now())

    async def pause(self, queue: str, until: float | None = None) -> None:
        """Deliver nothing of a queue until an instant; None is until `resume`."""
        check_queue(queue)
        storage = self._storage
        with storage.lock:
            storage.backlog.pause(queue, until)
        # Workers that wait for the next instant must look again: it is another one now.
        storage.wake([queue])

    async def resume(self, queue: str) -> bool:
        """End a pause; False when there was none."""
        check_queue(queue)
        storage = self._storage
        with storage.lock:
            paused = storage.backlog.resume(queue, self._now())
        storage.wake([queue])
        return paused

    async def depth(self, queue: str) -> int:
        """Count the runs of a queue that wait or are being executed."""
        check_queue(queue)
        storage = self._storage
        with storage.lock:
            return storage.backlog.depth(queue, self._now())

    async def waiting(self, queue: str | None = None) -> AsyncIterator[WaitingRun]:
        """Yield the waiting and delayed runs of one queue or of all, oldest first."""
        if queue is not None:
            check_queue(queue)
        storage = self._storage
        with storage.lock:
            runs = storage.backlog.waiting(queue, self._now())
        for run in runs:
            yield run

    async def find(self, run_id: str) -> WaitingRun | None:
        """Return a run that waits or is delayed, or None."""
        storage = self._storage
        with storage.lock:
            return storage.backlog.find(run_id, self._now())

    async def locate(self, run_id: str) -> RunPlace | None:
        """Return a run that waits, is delayed or is in the hands of a worker, or None."""
        storage = self._storage
        with storage.lock:
            return storage.backlog.locate(run_id, self._now())
