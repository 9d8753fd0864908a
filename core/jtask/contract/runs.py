"""Runs on their way to a queue, and in a worker's hands."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

DEFAULT_PRIORITY = 0
ATOMIC_LIMIT = 1000  # the most that one atomic batch of JetStream holds (ADR-50)
"""How many messages `enqueue` must be able to store as all or none."""

EXPIRY_GRACE = 86_400.0
"""How long, in seconds, an expired run waits for a worker to settle it. A broker that discarded it
sooner would take it away from under the worker that started it in time, and if that worker then
crashed, it would be lost."""


@dataclass(slots=True)
class Message:
    """One run on its way to a queue.

    Attributes:
        run_id: Storing the same id twice within 30 seconds stores it once, also when the run was
            settled meanwhile.
        queue: Letters, digits, `_` and `-`.
        body: The envelope.
        priority: 0 (lowest, default) to 9.
        at: Not delivered before this instant, HORIZON at the latest; None is now.
        expires: Worth nothing after this instant; None is never. It is delivered all the same, so
            that a worker settles it as Expired and whoever waits is notified; the broker may
            discard it EXPIRY_GRACE later.
        parked_under: What it waits for until `at`, as if it had been parked (`Delivery.park`).
    """

    run_id: str
    queue: str
    body: bytes
    priority: int = DEFAULT_PRIORITY
    at: float | None = None
    expires: float | None = None
    parked_under: str | None = None


class Delivery(Protocol):
    """One run in this worker's hands, under a lease that the broker renews by itself.

    Exactly one of its methods settles it; then the claim is over. Each returns when the broker has
    taken it. When one raises, the claim is kept and the lease renewed: repeat the same call until
    it is answered. None raises because the claim was lost meanwhile.
    """

    @property
    def run_id(self) -> str:
        """The id from the message's address, so that it is known for an unreadable body too."""
        ...

    @property
    def queue(self) -> str:
        """The queue it came from."""
        ...

    @property
    def body(self) -> bytes:
        """The envelope."""
        ...

    @property
    def priority(self) -> int:
        """The message's priority, 0 to 9."""
        ...

    @property
    def redelivered(self) -> bool:
        """Whether it may have been delivered before, to this worker or another.

        A run that was rescheduled or parked counts anew.
        """
        ...

    @property
    def lost_workers(self) -> int:
        """How many workers were lost with it: their leases lapsed while they held the run.

        A run that was released or rescheduled is not charged for it.
        """
        ...

    @property
    def token(self) -> str | None:
        """What it was given by whoever woke it; None for nearly all deliveries."""
        ...

    @property
    def problem(self) -> str | None:
        """Why it cannot be a run at all, one sentence; None for nearly all deliveries.

        Such a message is dead-lettered under a run id that the broker has made for it, since what
        its address says is not one.
        """
        ...

    def ack(self) -> None:
        """Take the run off the queue; its outcome is stored. Never blocks, may be batched."""
        ...

    async def release(self) -> None:
        """Give the run to another worker at once."""
        ...

    async def reschedule(self, at: float, body: bytes | None = None) -> None:
        """Queue the run again for an instant, with a new body if given; never lost, never twice.

        Args:
            at: Seconds since the epoch.
            body: The envelope from now on; None keeps it.
        """
        ...

    async def park(self, key: str, until: float, body: bytes | None = None) -> None:
        """Let the run wait until somebody wakes it, see `RunQueue.wake`; never lost, never twice.

        Args:
            key: What it waits for: any text of up to 200 characters.
            until: When it comes by itself, should nobody wake it, seconds since the epoch.
            body: The envelope from now on; None keeps it.
        """
        ...

    async def dead_letter(self, reason: str, body: bytes) -> None:
        """Move the run to the dead letters.

        Args:
            reason: One sentence.
            body: What to keep: the record that docs/wire-format.md calls a dead letter.
        """
        ...


class Consumption(Protocol):
    """A worker's subscription to the runs of some queues."""

    def set_credit(self, credit: int) -> None:
        """Change how many deliveries may be unsettled at once; a lower value takes time to hold.

        Also called while a delivery is received. What comes for a higher credit is delivered once
        that one has been.
        """
        ...

    async def stop(self) -> None:
        """Deliver nothing more. What is on the way is released; held deliveries stay held."""
        ...

    async def close(self) -> None:
        """Stop, and stop renewing leases."""
        ...

    def problem(self) -> str | None:
        """Say why nothing can be consumed right now, in one sentence; None while all is well."""
        ...


class PreparedRuns(Protocol):
    """Runs that only have to be sent: while some are stored, others can be prepared."""

    def begin(self) -> None:
        """Begin to send them, in any thread but the loop's; `finish` must be awaited then."""
        ...

    async def finish(self) -> None:
        """Return when they are durable, or raise as `RunQueue.enqueue` does; on the loop."""
        ...


class RunQueue(Protocol):
    """Hold runs durably until a worker has settled them.

    A broker may also have `ack_many(deliveries)`, which does `Delivery.ack` with many of its own
    deliveries in fewer steps, and shorter ways for callers who are not on its loop:
    `enqueue_from_thread(message)` does `enqueue([message])` from any other thread, and blocks it;
    the coroutine function `enqueue_from_loop(message)` does so on any other event loop.
    `prepare_enqueue(group)` prepares `enqueue` of a `MessageGroup` in any other thread, see
    `PreparedRuns`, or returns None.
    """

    async def enqueue(self, messages: Sequence[Message]) -> None:
        """Store messages; they are durable on return.

        Up to ATOMIC_LIMIT messages of one queue are stored all or none; more are stored in such
        groups, in order. Lost answers are retried without storing twice.

        Raises:
            BrokerUnavailable: Not stored within the enqueue timeout of the settings.
            BrokerFull: No room.
            PermissionDenied: Not allowed.
            MessageRefused: One is larger than `Broker.inline_limit`, or its address is none: none
                was stored.
        """
        ...

    async def replace(self, message: Message) -> bool:
        """Put another message in the place of a delayed run that no worker has had yet.

        Of several who do this at the same time all do, one after the other: the last one counts.

        Args:
            message: What the run is from now on: under its own id, on its own queue and with its
                own priority, for an instant to come. One that is nearer than half a second may be
                put off until then.

        Returns:
            bool: False when no such run is delayed there any more, or a worker has had it, and
            nothing is changed. A broker may let go of a run up to 0.3 seconds before its instant.

        Raises:
            BrokerUnavailable: Not answered; the run may be replaced.
            BrokerFull: No room.
            PermissionDenied: Not allowed.
        """
        ...

    async def consume(
        self, queues: Sequence[str], credit: int, receive: Callable[[Delivery], None]
    ) -> Consumption:
        """Deliver runs of some queues, highest priority first, until stopped.

        Queues come into being by being named. Resumes by itself after a lost connection, a lost
        consumer or a restarted server.

        Args:
            queues: Which.
            credit: How many deliveries may be unsettled at once.
            receive: Called on the loop for each delivery; must not block.
        """
        ...

    async def wake(
        self, key: str, count: int = 1, *, tokens: Sequence[str] = (), first: bool = True
    ) -> int:
        """Queue parked runs at once, those that were parked first.

        They have waited already: they are delivered like runs of the highest priority, and keep
        their own; or, if not to be `first`, in the order of their queue. Whoever parks a run looks
        afterwards whether it still has to wait: a wake that came just before found nothing.

        Args:
            key: What they wait for.
            count: How many to wake, at most.
            first: Whether they go before what is on their queue.
            tokens: What the woken runs are given, in their order: `Delivery.token`. Each a line of
                text.

        Returns:
            int: How many were woken by this call.
        """
        ...

    async def parked(self, key: str) -> int:
        """Count the runs that are parked under a key."""
        ...

    async def parked_keys(self, prefix: str) -> set[str]:
        """Return the keys that begin so and that runs are parked under."""
        ...

    async def cancel(self, run_id: str) -> bool:
        """Take a waiting or delayed run off its queue; False when none is waiting."""
        ...
