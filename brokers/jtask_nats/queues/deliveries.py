"""The runs that this worker holds: each is settled once, by an ack, a NAK or its successor."""

from collections.abc import Callable, Sequence

from jtask.contract import DEFAULT_PRIORITY, TOP_PRIORITY, Message
from jtask.lease_guard import NO_SLOT
from jtask_nats.client import headers
from jtask_nats.client.nats_errors import WRONG_LAST_SEQUENCE, ApiError
from jtask_nats.queues.leases import Leases
from jtask_nats.queues.messages import InHand, rescheduled_message
from jtask_nats.queues.releases import Releases
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream

ACK = b"+ACK"
# Counts as a delivery: after a NAK num_delivered is one higher, though no worker was lost.
NAK = b"-NAK"


class InFlight:
    """The deliveries of one consumer that this worker has not settled yet.

    Args:
        session: To the server.
        leases: Renews the leases.
        queue: The queue the runs come from.
        priority: Their priority.
        on_freed: Called with how many deliveries were settled.
        releases: Counts how often a run was released.
    """

    __slots__ = (
        "_on_freed",
        "held",
        "leases",
        "priority",
        "queue",
        "releases",
        "respond",
        "session",
    )

    def __init__(
        self,
        session: Session,
        leases: Leases,
        queue: str,
        priority: int,
        on_freed: Callable[[int], None],
        releases: Releases,
    ) -> None:
        self.session = session
        self.leases = leases
        self.respond = session.connection.respond
        self.queue = queue
        self.priority = priority
        # By sequence in the stream, which stays the same when the server delivers again.
        self.held: dict[str, NatsDelivery] = {}
        self._on_freed = on_freed
        self.releases = releases

    def hold(self, delivery: "NatsDelivery") -> None:
        """Add a delivery, and keep its lease alive."""
        self.held[delivery.seq] = delivery
        delivery.slot = self.leases.hold(delivery.reply)

    def redelivered(self, delivery: "NatsDelivery", reply: str) -> None:
        """Take over the ack subject of a second delivery of the same run: the newer one counts."""
        self.leases.drop(delivery.slot)
        delivery.reply = reply
        delivery.slot = self.leases.hold(reply)

    def remove(self, deliveries: "Sequence[NatsDelivery]") -> None:
        """Forget some deliveries, and let their leases end."""
        held, drop, freed = self.held, self.leases.drop, 0
        for delivery in deliveries:
            if held.pop(delivery.seq, None) is not None:
                drop(delivery.slot)
                freed += 1
        if freed:
            self._on_freed(freed)

    def ack(self, deliveries: "Sequence[NatsDelivery]") -> None:
        """Take runs off their queue that are not settled and were delivered once."""
        self.respond([delivery.reply for delivery in deliveries], ACK)
        self.remove(deliveries)

    def let_all_lapse(self) -> None:
        """Renew no lease any more; what is still held may yet be settled."""
        self.leases.remove(self)
        for delivery in self.held.values():
            self.leases.drop(delivery.slot)
            delivery.slot = NO_SLOT

    def ack_subjects(self) -> Sequence[str]:
        """Return the ack subjects of the leases to renew."""
        return [delivery.reply for delivery in self.held.values()]


class NatsDelivery:
    """A `jtask.contract.Delivery`; what comes after it is settled is ignored.

    Args:
        in_flight: Where it is kept until it is settled.
        run_id: From the subject.
        body: The envelope.
        deliveries: As the server counts them; see NAK.
        reply: The ack subject.
        seq: Sequence in the stream, as text: it is only compared on the hot path.

    Attributes:
        redelivered: Whether it may have been delivered before.
        lost_workers: How many workers were lost with the run.
        problem: Why the message cannot be a run; None for nearly all.
        priority: Of the run, 0 to 9.
        level: The priority of the runs among which it is delivered.
        token: What it was given when it was woken; None for nearly all.
        is_doubtful: Whether the server may have delivered it before and forgotten that.
    """

    __slots__ = (
        "_deliveries",
        "_open",
        "body",
        "in_flight",
        "is_doubtful",
        "level",
        "lost_workers",
        "priority",
        "problem",
        "queue",
        "redelivered",
        "reply",
        "run_id",
        "seq",
        "slot",
        "token",
    )

    def __init__(
        self, in_flight: InFlight, run_id: str, body: bytes, deliveries: int, reply: str, seq: str
    ) -> None:
        self.in_flight = in_flight
        self._open = True
        self._deliveries = deliveries
        self.redelivered = deliveries > 1
        self.lost_workers = 0
        self.level = self.priority = in_flight.priority
        self.problem: str | None = None
        self.token: str | None = None
        self.is_doubtful = False
        self.queue = in_flight.queue
        self.run_id = run_id
        self.body = body
        self.reply = reply
        self.seq = seq
        self.slot = NO_SLOT

    def doubt(self) -> None:
        """Count it as one that the server may have delivered before and forgotten."""
        self.is_doubtful = self.redelivered = True

    def set_own_priority(self, own: int) -> None:
        """Take the priority of a run that is delivered among others."""
        self.priority = min(max(own, DEFAULT_PRIORITY), TOP_PRIORITY)

    @property
    def is_counted(self) -> bool:
        """Whether the server itself says that it was delivered before."""
        return self._deliveries > 1

    async def count_lost_workers(self) -> int:
        """Find out how many of the deliveries before this one ended with a lapsed lease.

        Returns:
            int: How many, of this message. `lost_workers` also has those of messages before it.

        Raises:
            BrokerError: It could not be looked up.
        """
        released = await self.in_flight.releases.count(self.run_id, self.seq)
        # A release that was counted and never sent, as its worker died in between, is too many.
        losses = max(0, self._deliveries - 1 - released)
        self.lost_workers += losses
        return losses

    def ack(self) -> None:
        """Take the run off the queue."""
        if self._open:
            self._settle(ACK)

    def take_for_ack(self) -> bool:
        """Count it as settled, if all that remains to be done is `InFlight.ack`."""
        is_plain = self._open and self._deliveries <= 1
        if is_plain:
            self._open = False
        return is_plain

    async def release(self) -> None:
        """Give the run to another worker at once, in its old place in the queue.

        Raises:
            BrokerError: The release could not be counted; the run is still held.
        """
        if self._open:
            await self.in_flight.releases.add(self.run_id, self.seq)
            self._settle(NAK)

    async def reschedule(self, at: float, body: bytes | None = None) -> None:
        """Queue the run again for an instant; the old message goes once the new one is stored.

        `jtask_nats.queues.requeued` says what happens when the worker dies in between.

        Raises:
            BrokerError: The new message could not be stored; the run is still held.
        """
        await self._queue_again(at, body)

    async def park(self, key: str, until: float, body: bytes | None = None) -> None:
        """Let the run wait until it is woken, or until an instant; as `reschedule` does.

        Raises:
            BrokerError: The new message could not be stored; the run is still held.
        """
        await self._queue_again(until, body, key)

    async def _queue_again(self, at: float, body: bytes | None, key: str | None = None) -> None:
        if not self._open:
            return
        new_body = self.body if body is None else body
        message = Message(self.run_id, self.queue, new_body, self.priority, at)
        in_hand = InHand(self.level, int(self.seq), self.lost_workers)
        session = self.in_flight.session
        clock = session.topology.clock
        again = rescheduled_message(session.subjects, message, in_hand, clock, key)
        try:
            await session.publisher.publish(again.subject, again.body, again.headers)
        except ApiError as error:
            # The lease was lost, and whoever got the run has already settled it.
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
        self._settle(ACK)

    async def dead_letter(self, reason: str, body: bytes) -> None:
        """Move the run to the dead letters.

        Raises:
            BrokerError: The letter could not be stored; the run is still held.
        """
        if not self._open:
            return
        session = self.in_flight.session
        await session.topology.ensure(Stream.DEAD_LETTERS)
        # Stored before the ack. A worker that dies in between leaves the run to another, whose
        # letter is recognised by its id.
        lines = headers.message_id(f"{self.run_id}:{self.seq}") + headers.reason(reason)
        subject = session.subjects.dead_letter(self.queue, self.run_id)
        await session.publisher.publish(subject, body, lines)
        self._settle(ACK)

    def let_lapse(self) -> None:
        """Renew the lease no more: the run is delivered again once it is over."""
        self._open = False
        self.in_flight.remove((self,))

    def _settle(self, answer: bytes) -> None:
        # Closed only now: until the broker has answered, the claim is kept and the lease renewed,
        # so that whoever settles the run can try again.
        self._open = False
        self.in_flight.respond((self.reply,), answer)
        if self._deliveries > 1 and answer is ACK:
            self.in_flight.releases.forget(self.run_id, self.seq)
        self.in_flight.remove((self,))


def ack_many(deliveries: Sequence[NatsDelivery]) -> None:
    """Do `ack` with many deliveries, in a few steps for all."""
    plain: dict[InFlight, list[NatsDelivery]] = {}
    for delivery in deliveries:
        if delivery.take_for_ack():
            plain.setdefault(delivery.in_flight, []).append(delivery)
        else:
            delivery.ack()
    for in_flight, alike in plain.items():
        in_flight.ack(alike)
