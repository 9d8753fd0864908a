"""The runs that this worker holds: each is settled once, by an ack, a NAK or its successor."""

import time
from collections.abc import Callable, Sequence

from jtask.contract import Message
from jtask_nats.client import headers
from jtask_nats.client.nats_errors import WRONG_LAST_SEQUENCE, ApiError
from jtask_nats.queues.leases import Leases
from jtask_nats.queues.messages import rescheduled_message
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
        on_freed: Called each time a delivery is settled.
    """

    __slots__ = ("_on_freed", "held", "leases", "priority", "queue", "respond", "session")

    def __init__(
        self,
        session: Session,
        leases: Leases,
        queue: str,
        priority: int,
        on_freed: Callable[[], None],
    ) -> None:
        self.session = session
        self.leases = leases
        self.respond = session.connection.respond
        self.queue = queue
        self.priority = priority
        # By sequence in the stream, which stays the same when the server delivers again.
        self.held: dict[str, NatsDelivery] = {}
        self._on_freed = on_freed

    def hold(self, delivery: "NatsDelivery") -> None:
        """Add a delivery, and keep its lease alive."""
        self.held[delivery.seq] = delivery
        delivery.slot = self.leases.hold(delivery.reply)

    def redelivered(self, delivery: "NatsDelivery", reply: str) -> None:
        """Take over the ack subject of a second delivery of the same run: the newer one counts."""
        self.leases.drop(delivery.slot)
        delivery.reply = reply
        delivery.slot = self.leases.hold(reply)

    def remove(self, delivery: "NatsDelivery") -> None:
        """Forget a delivery, and let its lease end."""
        if self.held.pop(delivery.seq, None) is not None:
            self.leases.drop(delivery.slot)
            self._on_freed()

    def ack_subjects(self) -> Sequence[str]:
        """Return the ack subjects of the leases to renew."""
        return [delivery.reply for delivery in self.held.values()]


class NatsDelivery:
    """A `jtask.contract.Delivery`; what comes after the first settling is ignored.

    Args:
        in_flight: Where it is kept until it is settled.
        run_id: From the subject.
        body: The envelope.
        deliveries: As the server counts them; see NAK.
        reply: The ack subject.
        seq: Sequence in the stream, as text: it is only compared on the hot path.
    """

    __slots__ = (
        "_in_flight",
        "_open",
        "body",
        "deliveries",
        "queue",
        "reply",
        "run_id",
        "seq",
        "slot",
    )

    def __init__(
        self, in_flight: InFlight, run_id: str, body: bytes, deliveries: int, reply: str, seq: str
    ) -> None:
        self._in_flight = in_flight
        self._open = True
        self.queue = in_flight.queue
        self.run_id = run_id
        self.body = body
        self.deliveries = deliveries
        self.reply = reply
        self.seq = seq
        self.slot = -1

    def ack(self) -> None:
        """Take the run off the queue."""
        self._settle(ACK)

    @property
    def priority(self) -> int:
        """Of the run, 0 to 9."""
        return self._in_flight.priority

    async def hand_back(self) -> None:
        """Give the run to another worker at once."""
        self.nak()

    def nak(self) -> None:
        """Do what `hand_back` does, from a callback."""
        self._settle(NAK)

    async def put_off(self, at: float, body: bytes | None = None) -> None:
        """Queue the run again for an instant; the old message goes once the new one is stored.

        `jtask_nats.queues.requeued` says what happens when the worker dies in between.

        Raises:
            BrokerError: The new message could not be stored; the run is delivered again when its
                lease is over.
        """
        if not self._open:
            return
        self._open = False
        in_flight = self._in_flight
        try:
            message = Message(
                self.run_id, self.queue, self.body if body is None else body, in_flight.priority, at
            )
            # The sequence makes it unique: a second try of this is a duplicate, the next attempt
            # is not, even for the same instant.
            unique = f"{self.run_id}:{self.seq}"
            again = rescheduled_message(
                in_flight.session.subjects, message, unique, int(self.seq), time.time()
            )
            try:
                await in_flight.session.publisher.publish(again.subject, again.body, again.headers)
            except ApiError as error:
                # The lease was lost, and whoever got the run has already settled it.
                if error.err_code != WRONG_LAST_SEQUENCE:
                    raise
            in_flight.respond(self.reply, ACK)
        finally:
            in_flight.remove(self)

    async def dead_letter(self, reason: str, body: bytes) -> None:
        """Move the run to the dead letters.

        Raises:
            BrokerError: The letter could not be stored; the run is delivered again when its lease
                is over.
        """
        if not self._open:
            return
        self._open = False
        in_flight = self._in_flight
        try:
            await in_flight.session.topology.ensure(Stream.DEAD_LETTERS)
            # Stored before the ack. A worker that dies in between leaves the run to another, whose
            # letter is recognised by its id.
            lines = headers.message_id(f"{self.run_id}:{self.seq}") + headers.reason(reason)
            subject = in_flight.session.subjects.dead_letter(self.queue, self.run_id)
            await in_flight.session.publisher.publish(subject, body, lines)
            in_flight.respond(self.reply, ACK)
        finally:
            in_flight.remove(self)

    def _settle(self, answer: bytes) -> None:
        if self._open:
            self._open = False
            in_flight = self._in_flight
            in_flight.respond(self.reply, answer)
            in_flight.remove(self)
