"""One run in this worker's hands."""

import time
from collections.abc import Callable, Sequence

from jtask.contract import Message
from jtask_nats.client import headers
from jtask_nats.client.nats_errors import WRONG_LAST_SEQUENCE, ApiError
from jtask_nats.queues.leases import Leases
from jtask_nats.queues.messages import put_off
from jtask_nats.streams.session import Link
from jtask_nats.streams.topology import Store

ACK = b"+ACK"
NAK = b"-NAK"


class Desk:
    """Where the runs of one consumer lie while this worker has them.

    Args:
        link: To the server.
        leases: Renews the claims.
        queue: The queue the runs come from.
        priority: Their priority.
        freed: Called each time a run has left.
    """

    __slots__ = ("_freed", "answer", "held", "leases", "link", "priority", "queue")

    def __init__(
        self, link: Link, leases: Leases, queue: str, priority: int, freed: Callable[[], None]
    ) -> None:
        self.link = link
        self.leases = leases
        self.answer = link.connection.answer
        self.queue = queue
        self.priority = priority
        self.held: dict[str, NatsDelivery] = {}
        self._freed = freed

    def hold(self, delivery: "NatsDelivery") -> None:
        """Keep a run, and its lease alive."""
        self.held[delivery.seq] = delivery
        delivery.slot = self.leases.hold(delivery.reply)

    def renamed(self, delivery: "NatsDelivery", reply: str) -> None:
        """Take note that the server delivered again what lies here: the newer claim counts."""
        self.leases.drop(delivery.slot)
        delivery.reply = reply
        delivery.slot = self.leases.hold(reply)

    def remove(self, delivery: "NatsDelivery") -> None:
        """Let go of a run."""
        if self.held.pop(delivery.seq, None) is not None:
            self.leases.drop(delivery.slot)
            self._freed()

    def replies(self) -> Sequence[str]:
        """Return the claims to renew."""
        return [delivery.reply for delivery in self.held.values()]


class NatsDelivery:
    """A `jtask.contract.Delivery`; what comes after the first settling is ignored."""

    __slots__ = ("_desk", "_open", "body", "deliveries", "queue", "reply", "run_id", "seq", "slot")

    def __init__(
        self, desk: Desk, run_id: str, body: bytes, deliveries: int, reply: str, seq: str
    ) -> None:
        self._desk = desk
        self._open = True
        self.queue = desk.queue
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
        return self._desk.priority

    async def hand_back(self) -> None:
        """Give the run to another worker at once."""
        self.refuse()

    def refuse(self) -> None:
        """Do what `hand_back` does."""
        self._settle(NAK)

    async def put_off(self, at: float, body: bytes | None = None) -> None:
        """Queue the run again for an instant; the old message goes when the new one is stored.

        `jtask_nats.queues.requeued` says what happens when it does not come to that.
        """
        if not self._open:
            return
        self._open = False
        desk = self._desk
        try:
            message = Message(
                self.run_id, self.queue, self.body if body is None else body, desk.priority, at
            )
            # The sequence makes it unique: a second try of this is a duplicate, the next attempt
            # is not, even for the same instant.
            unique = f"{self.run_id}:{self.seq}"
            again = put_off(desk.link.subjects, message, unique, int(self.seq), time.time())
            try:
                await desk.link.publisher.publish(again.subject, again.body, again.headers)
            except ApiError as error:
                # The claim was lost, and whoever got the run has already settled it.
                if error.err_code != WRONG_LAST_SEQUENCE:
                    raise
            desk.answer(self.reply, ACK)
        finally:
            desk.remove(self)

    async def dead_letter(self, reason: str, body: bytes) -> None:
        """Move the run to the dead letters."""
        if not self._open:
            return
        self._open = False
        desk = self._desk
        try:
            await desk.link.topology.ensure(Store.DEAD_LETTERS)
            lines = headers.message_id(f"{self.run_id}:{self.seq}") + headers.reason(reason)
            subject = desk.link.subjects.letter(self.queue, self.run_id)
            await desk.link.publisher.publish(subject, body, lines)
            desk.answer(self.reply, ACK)
        finally:
            desk.remove(self)

    def _settle(self, answer: bytes) -> None:
        if self._open:
            self._open = False
            desk = self._desk
            desk.answer(self.reply, answer)
            desk.remove(self)
