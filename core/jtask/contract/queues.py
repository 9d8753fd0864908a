"""How queues stand."""

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol


class Pause(NamedTuple):
    """Why nothing of a queue is delivered.

    Attributes:
        until: When it ends by itself, seconds since the epoch; None when somebody must end it.
    """

    until: float | None


class QueueInfo(NamedTuple):
    """How a queue stands.

    Attributes:
        name: The queue.
        waiting: Runs that could start now.
        executing: Runs in the hands of workers.
        delayed: Runs whose instant has not come.
        pause: While it is paused; None when it is not.
    """

    name: str
    waiting: int
    executing: int
    delayed: int
    pause: Pause | None

    @property
    def paused_until(self) -> float | None:
        """When the pause ends by itself; None for one without an end, and when not paused."""
        return None if self.pause is None else self.pause.until


class WaitingRun(NamedTuple):
    """A run that no worker holds.

    Attributes:
        at: The instant it waits for; None when it only waits for a worker.
        body: The envelope.
        token: What it was given by whoever woke it (`Delivery.token`).
        is_parked: Whether somebody is to wake it, before that instant as a rule.
    """

    run_id: str
    queue: str
    at: float | None
    body: bytes
    token: str | None = None
    is_parked: bool = False


class RunPlace(NamedTuple):
    """Where a run is that is on a queue.

    Attributes:
        run: The run, whether it waits or not.
        in_hand: Whether it was given to a worker and not settled since. The broker need not know
            that the worker has died since, or has given the run back.
    """

    run: WaitingRun
    in_hand: bool


class Queues(Protocol):
    """Inspect the queues, pause and resume them.

    What cannot be the name of a queue is refused with `MessageRefused` (`check_queue`).

    A broker to which others can publish past jtask may also have `discard_unaddressed(queue)`, a
    coroutine function: it deletes what is on a queue and cannot be a run, such as a message whose
    address names none, and returns how many messages that were. A purge calls it.
    """

    async def list(self) -> list[QueueInfo]:
        """Return all queues that hold runs, are served or are paused, by name."""
        ...

    async def pause(self, queue: str, until: float | None = None) -> None:
        """Deliver nothing of a queue, of no priority, until the pause ends.

        The broker holds the pause: it outlives every process, and workers that come later keep it.
        Runs that workers hold are executed.

        Args:
            queue: The queue; it need not hold runs yet.
            until: When the pause ends by itself, seconds since the epoch; None is at `resume`.
        """
        ...

    async def resume(self, queue: str) -> bool:
        """End a pause; False when there was none."""
        ...

    async def depth(self, queue: str) -> int:
        """Count the runs of a queue that wait or are being executed, not those that are delayed."""
        ...

    # Not `async def`: an async generator is called, not awaited. Likewise in the other parts.
    def waiting(self, queue: str | None = None) -> AsyncIterator[WaitingRun]:
        """Yield the waiting and delayed runs of one queue or of all, oldest first, up to now."""
        ...

    async def find(self, run_id: str) -> WaitingRun | None:
        """Return a run that waits or is delayed, or None; may show one that a worker holds."""
        ...

    async def locate(self, run_id: str) -> RunPlace | None:
        """Return a run that waits, is delayed or is in the hands of a worker.

        As quick when the queues hold millions of runs.

        Args:
            run_id: The run.

        Returns:
            RunPlace | None: Where it is; None proves that it was on no queue.
        """
        ...
