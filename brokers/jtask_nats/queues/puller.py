"""Pull runs from one JetStream consumer: long pulls into one inbox, without any task per run."""

import json
from enum import Enum
from typing import Protocol

from jtask_nats.client import headers
from jtask_nats.client.protocol import status_of
from jtask_nats.queues.deliveries import NAK, Desk, NatsDelivery
from jtask_nats.streams.subjects import claim_of
from jtask_nats.streams.topology import consumer_name

_HEARTBEAT = 2.0  # seconds; must be less than half of a pull's time
_EXPIRES = 6.0  # seconds a pull stands: a permission that is gone shows at the next one
_SCARCE_EXPIRES = 5.0  # seconds, when the pull promises more than there is room for
_NANO = 1_000_000_000
_PLAIN_TOKENS = 9  # in a reply subject without domain and account


class Way(Enum):
    """How to pull."""

    LONG = 0
    """Wait for what comes."""
    SCARCE = 1
    """Wait, but not for long."""
    AT_ONCE = 2
    """Take what is there."""


_ORDERS: dict[Way, dict[str, object]] = {
    Way.LONG: {"expires": round(_EXPIRES * _NANO), "idle_heartbeat": round(_HEARTBEAT * _NANO)},
    Way.SCARCE: {"expires": round(_SCARCE_EXPIRES * _NANO)},
    Way.AT_ONCE: {"no_wait": True},
}


class Owner(Protocol):
    """Who pulls: told of everything that happens at a consumer."""

    def arrived(self, delivery: NatsDelivery, at: float) -> None:
        """Take a delivery that may start at an instant (0: at once)."""
        ...

    def wants_more(self) -> None:
        """Look whether something is to be pulled."""
        ...

    def broken(self, puller: "Puller", reason: str) -> None:
        """Repair the consumer, then call `renew`."""
        ...


class Puller:
    """The pulls of this process at one consumer.

    Attributes:
        outstanding: How many messages are asked for and have not come.
        idle: Whether the server has nothing waiting, as far as is known.
        heard: Whether anything came since this was last set to False.
        is_broken: Whether there is no use in pulling before `renew`.
        request_subject: Where pulls are sent.
        inbox: Where their answers arrive.
    """

    __slots__ = (
        "_connection",
        "_owner",
        "_prefix",
        "_stopping",
        "_subscription",
        "desk",
        "heard",
        "idle",
        "inbox",
        "is_broken",
        "outstanding",
        "priority",
        "queue",
        "request_subject",
    )

    def __init__(self, desk: Desk, owner: Owner) -> None:
        self.desk = desk
        self.queue, self.priority = desk.queue, desk.priority
        self._owner = owner
        self._connection = desk.link.connection
        stream = desk.link.topology.stream_of(desk.queue)
        consumer = consumer_name(desk.queue, desk.priority)
        self.request_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._prefix = len(desk.link.subjects.queued(desk.queue, desk.priority, ""))
        self.inbox = self._connection.new_inbox()
        self._subscription = self._connection.subscribe(self.inbox, self._on_message)
        self._stopping = False
        self.outstanding = 0
        self.idle = False
        self.heard = False
        self.is_broken = False

    def pull(self, count: int, way: Way) -> None:
        """Ask for some more."""
        self.outstanding += count
        order = json.dumps({"batch": count, **_ORDERS[way]}).encode()
        self._connection.send(self.request_subject, order, reply=self.inbox)

    def renew(self) -> None:
        """Forget what was asked for: the server has."""
        self.outstanding = 0
        self.idle = self.is_broken = self.heard = False

    async def stop(self) -> None:
        """Withdraw the pulls; what is on the way is handed back."""
        if self._stopping:
            return
        self._stopping = True
        await self._subscription.drain()

    def _on_message(self, subject: str, reply: str, data: bytes, block: bytes | None) -> None:
        self.heard = True
        if not reply:
            self._on_status(block)
            return
        if self._stopping:
            self.desk.answer(reply, NAK)
            return
        tokens = reply.split(".")
        if len(tokens) == _PLAIN_TOKENS:
            deliveries, seq, pending = int(tokens[4]), tokens[5], tokens[8]
        else:
            claim = claim_of(reply)
            deliveries, seq, pending = claim.deliveries, str(claim.stream_seq), str(claim.pending)
        if self.outstanding > 0:
            self.outstanding -= 1
        if self.outstanding == 0:
            self.idle = pending == "0"
            self._owner.wants_more()
        if deliveries > 1 and (mine := self.desk.held.get(seq)) is not None:
            # Our lease ran out, yet we live: two of us must not work on it.
            self.desk.renamed(mine, reply)
            return
        at = 0.0
        if block is not None and headers.OWN in block:
            at = (headers.number(block, headers.AT) or 0) / 1000
        delivery = NatsDelivery(self.desk, subject[self._prefix :], data, deliveries, reply, seq)
        self.desk.hold(delivery)
        self._owner.arrived(delivery, at)

    def _on_status(self, block: bytes | None) -> None:
        """Take what the server says about a pull (ADR-13)."""
        status, description = status_of(block)
        if status == 100:
            return
        left = headers.number(block, b"Nats-Pending-Messages")
        self.outstanding = 0 if left is None else max(0, self.outstanding - left)
        match status:
            case 404:
                self.idle = True
            case 408:
                # Ended by the clock: something may have come since the server last looked.
                self.idle = False
            case 409 if "Leadership Change" in description or "Shutdown" in description:
                self.outstanding = 0
            case _:
                self.outstanding = 0
                self.is_broken = True
                self._owner.broken(self, description.strip() or f"status {status}")
        self._owner.wants_more()
