"""How queues stand."""

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

FOREVER = 32_503_680_000.0
"""The year 3000, which brokers write down for an instant that never comes."""


class QueueInfo(NamedTuple):
    """How a queue stands.

    Attributes:
        name: The queue.
        waiting: Runs that could start now.
        executing: Runs in the hands of workers.
        delayed: Runs whose instant has not come.
        paused_until: Nothing is delivered before this instant, `FOREVER` for a pause without an
            end; None when it is not paused.
    """

    name: str
    waiting: int
    executing: int
    delayed: int
    paused_until: float | None


class WaitingRun(NamedTuple):
    """A run that no worker holds.

    Attributes:
        at: The instant it waits for; None when it only waits for a worker.
        body: The envelope.
    """

    run_id: str
    queue: str
    at: float | None
    body: bytes


class Queues(Protocol):
    """Look into the queues and hold them up."""

    async def queues(self) -> list[QueueInfo]:
        """Return all queues that hold runs, are served or are paused, by name."""
        ...

    async def pause_queue(self, queue: str, until: float | None = None) -> None:
        """Deliver nothing of a queue, whatever its priority, until an instant; None is for ever.

        The broker holds the pause: it outlives every process, and workers that come later keep it.
        Runs in the hands of workers go on.
        """
        ...

    async def resume_queue(self, queue: str) -> bool:
        """End a pause; False when there was none."""
        ...

    def waiting(self, queue: str | None = None) -> AsyncIterator[WaitingRun]:
        """Yield the waiting and delayed runs of one queue or of all, oldest first, up to now."""
        ...

    async def find_waiting(self, run_id: str) -> WaitingRun | None:
        """Return a run that waits or is delayed, or None; may show one that a worker holds."""
        ...
