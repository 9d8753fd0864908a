"""A worker's consumption of runs, and the runs it holds."""

import asyncio
from collections.abc import Callable, Sequence

from jtask.contract import DeadLetter, Delivery
from jtask_memory.clock import Timer
from jtask_memory.loops import call_on
from jtask_memory.storage import Storage
from jtask_memory.storage.backlog import Claim


class MemoryConsumption:
    """Take runs from a storage while there is credit.

    It takes a run only when it can pass it on at once, so nothing is ever on the way. Everything
    happens on its loop, except `wake`.

    Args:
        storage: Where the runs are.
        queues: Which to take from.
        credit: How many deliveries may be unsettled at once.
        receive: Called for each delivery, on the loop.
        loop: The worker's.
        on_closed: Called with this consumption once it is closed.
    """

    def __init__(
        self,
        storage: Storage,
        queues: Sequence[str],
        credit: int,
        receive: Callable[[Delivery], None],
        loop: asyncio.AbstractEventLoop,
        on_closed: "Callable[[MemoryConsumption], None]",
    ) -> None:
        self._storage = storage
        self._queues = tuple(queues)
        self._credit = credit
        self._receive = receive
        self._loop = loop
        self._on_closed = on_closed
        self._held: dict[int, Claim] = {}
        self._is_stopped = False
        self._is_woken = False
        self._timer: Timer | None = None
        with storage.lock:
            for queue in self._queues:
                storage.wakers.add(queue, self.wake)
        self.wake()

    def set_credit(self, credit: int) -> None:
        """Change how many deliveries may be unsettled at once."""
        self._credit = credit
        self.wake()

    async def stop(self) -> None:
        """Take nothing more; held deliveries stay held."""
        self._stop()

    async def close(self) -> None:
        """Stop; runs that are still held count as lost with their worker, and wait again."""
        self._stop()
        self._lose_all()
        self._on_closed(self)

    def problem(self) -> str | None:
        """Return None: a process can always reach its own memory."""
        return None

    def wake(self) -> None:
        """Look for runs soon; may be called from any thread."""
        # Not under the lock: two calls at the same moment cost a second look, and nothing else.
        if self._is_woken or self._is_stopped:
            return
        self._is_woken = True
        if not call_on(self._loop, self._pump):
            # The loop ended without closing the broker: this worker is lost.
            self._stop()
            self._lose_all()

    def free(self, claim: Claim, *, others_first: bool = False) -> None:
        """Free the credit of a claim."""
        self._held.pop(claim.number, None)
        if others_first:
            # This worker has just refused the run, or given it another instant.
            self._storage.wake([claim.queue], last=self.wake)
        else:
            self.wake()

    def _pump(self) -> None:
        # Cleared before looking, so that whatever is stored after the look wakes it again.
        self._is_woken = False
        # One instant for both looks: a pause that ended between them would be seen by neither.
        now = self._storage.clock.time()
        for _ in range(self._credit - len(self._held)):
            if self._is_stopped or (claim := self._take(now)) is None:
                break
            self._held[claim.number] = claim
            # Without the lock: the worker may settle it, or enqueue another, before this returns.
            self._receive(MemoryDelivery(claim, self._storage, self))
        self._await_next_due(now)

    def _take(self, now: float) -> Claim | None:
        with self._storage.lock:
            return self._storage.backlog.take(self._queues, now)

    def _await_next_due(self, now: float) -> None:
        self._cancel_timer()
        if self._is_stopped or len(self._held) >= self._credit:
            return
        with self._storage.lock:
            instant = self._storage.backlog.next_due(self._queues, now)
        # A clock may call back early; then this finds nothing due and waits again.
        if instant is not None:
            self._timer = self._storage.clock.call_at(instant, self._pump, self._loop)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop(self) -> None:
        self._is_stopped = True
        self._cancel_timer()
        with self._storage.lock:
            for queue in self._queues:
                self._storage.wakers.remove(queue, self.wake)

    def _lose_all(self) -> None:
        with self._storage.lock:
            now = self._storage.clock.time()
            for claim in self._held.values():
                self._storage.backlog.lose(claim, now)
        self._held.clear()
        # After the lock is released: wakers take it again.
        self._storage.wake(self._queues)


class MemoryDelivery:
    """One run that a worker holds; it settles the run until somebody else has received it.

    Args:
        claim: What settles the run.
        storage: Where the run is.
        consumption: Whose credit it takes.
    """

    __slots__ = ("_claim", "_consumption", "_storage")

    def __init__(self, claim: Claim, storage: Storage, consumption: MemoryConsumption) -> None:
        self._claim = claim
        self._storage = storage
        self._consumption = consumption

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._claim.run_id

    @property
    def queue(self) -> str:
        """The queue it came from."""
        return self._claim.queue

    @property
    def body(self) -> bytes:
        """The envelope."""
        return self._claim.body

    @property
    def priority(self) -> int:
        """The message's priority."""
        return self._claim.priority

    @property
    def redelivered(self) -> bool:
        """Whether it was delivered before."""
        return self._claim.deliveries > 1

    @property
    def lost_workers(self) -> int:
        """How many workers were lost with it."""
        return self._claim.lost_workers

    @property
    def token(self) -> str | None:
        """What it was given when it was woken."""
        return self._claim.token

    @property
    def problem(self) -> str | None:
        """Return None: whoever enqueues here is checked."""
        return None

    def ack(self) -> None:
        """Take the run off the queue."""
        with self._storage.lock:
            self._storage.backlog.remove(self._claim)
        self._consumption.free(self._claim)

    async def release(self) -> None:
        """Give the run to another worker; to this one only when no other wants it now."""
        with self._storage.lock:
            self._storage.backlog.release(self._claim, self._storage.clock.time())
        self._consumption.free(self._claim, others_first=True)

    async def reschedule(self, at: float, body: bytes | None = None) -> None:
        """Queue the run again for an instant, with a new body if given."""
        with self._storage.lock:
            self._storage.backlog.reschedule(self._claim, at, body, self._storage.clock.time())
        # Others too: their timers wait for what was the next instant until now.
        self._consumption.free(self._claim, others_first=True)

    async def park(self, key: str, until: float, body: bytes | None = None) -> None:
        """Let the run wait until it is woken, or until an instant."""
        storage = self._storage
        with storage.lock:
            storage.backlog.park(self._claim, key, until, body, storage.clock.time())
        self._consumption.free(self._claim, others_first=True)

    async def dead_letter(self, reason: str, body: bytes) -> None:
        """Move the run to the dead letters."""
        with self._storage.lock:
            # Without the claim the run is somebody else's, and is not dead.
            if self._storage.backlog.remove(self._claim):
                self._keep_letter(reason, body)
        self._consumption.free(self._claim)

    def _keep_letter(self, reason: str, body: bytes) -> None:
        now = self._storage.clock.time()
        letter = DeadLetter(self.run_id, self.queue, reason, now, body)
        self._storage.letters.put(
            self.run_id, letter, now, now + self._storage.settings.dead_letter_ttl
        )

    def __repr__(self) -> str:
        claim = self._claim
        return f"<MemoryDelivery {claim.run_id} of {claim.queue!r}, delivery {claim.deliveries}>"
