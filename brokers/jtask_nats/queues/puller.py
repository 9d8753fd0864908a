"""Pull runs from one JetStream consumer: long pulls into one inbox, no task per run (ADR-13)."""

import json
from enum import Enum
from functools import lru_cache
from typing import Protocol

from jtask.foreign_text import quoted
from jtask.ids import get_run_ids, is_run_id
from jtask_nats.client import headers
from jtask_nats.client.connection import Subscription
from jtask_nats.client.protocol import status_of
from jtask_nats.queues.deliveries import InFlight, NatsDelivery
from jtask_nats.streams.subjects import parse_ack_subject

# Seconds. A consumer's new leader knows nothing of the pulls that stand, and nobody says so: only
# missing heartbeats tell. The server refuses more than half of a pull's time.
_HEARTBEAT = 1.0
_EXPIRES = 6.0  # seconds a pull stands: a permission that is gone shows at the next one
_SHORT_EXPIRES = 5.0  # seconds, when the pull promises more than there is room for
_NANO = 1_000_000_000
_SIGNS_OF_LIFE = {100, 404, 408}  # a heartbeat, nothing there, a pull that is over
_PLAIN_TOKENS = 9  # in a reply subject without domain and account


class PullMode(Enum):
    """How long a pull stands."""

    LONG = 0
    """Until messages come or `_EXPIRES` is over."""
    SHORT = 1
    """The same, for `_SHORT_EXPIRES` at most."""
    NO_WAIT = 2
    """Only for what is there now."""


_ALIVE: dict[str, object] = {"idle_heartbeat": round(_HEARTBEAT * _NANO)}
_OPTIONS: dict[PullMode, dict[str, object]] = {
    PullMode.LONG: {"expires": round(_EXPIRES * _NANO), **_ALIVE},
    PullMode.SHORT: {"expires": round(_SHORT_EXPIRES * _NANO), **_ALIVE},
    PullMode.NO_WAIT: {"no_wait": True},
}


class Owner(Protocol):
    """Who pulls: notified of everything that happens at a consumer."""

    def on_delivery(self, delivery: NatsDelivery, at: float) -> None:
        """Take a delivery that may start at an instant (0: now)."""
        ...

    def on_redelivered(self, delivery: NatsDelivery) -> None:
        """Take note that a run came again that is held here."""
        ...

    def refuse(self, delivery: NatsDelivery) -> None:
        """Release a delivery that came while the pulls were withdrawn."""
        ...

    def on_answered(self, puller: "Puller") -> None:
        """Take note of what is asked for and of what is known now; pull again soon."""
        ...

    def on_broken(self, puller: "Puller", reason: str) -> None:
        """Repair the consumer, then call `reset`."""
        ...


class Puller:
    """The pulls of this process at one consumer.

    Args:
        in_flight: Where its deliveries are kept until they are settled.
        owner: Notified of what comes.

    Attributes:
        outstanding: How many messages are requested and have not come.
        idle: Whether the server has nothing waiting, as far as is known.
        responded: Whether the server sent anything since this was last set to False.
        is_broken: Whether pulling is useless before `reset`, or before a `probe` is answered.
        request_subject: Where pulls are sent.
        inbox: Where their answers arrive.
    """

    __slots__ = (
        "_connection",
        "_owner",
        "_prefix",
        "_stopping",
        "_subscription",
        "idle",
        "in_flight",
        "inbox",
        "is_broken",
        "outstanding",
        "priority",
        "queue",
        "request_subject",
        "responded",
    )

    def __init__(self, in_flight: InFlight, owner: Owner) -> None:
        self.in_flight = in_flight
        self.queue, self.priority = in_flight.queue, in_flight.priority
        self._owner = owner
        self._connection = in_flight.session.connection
        path = in_flight.session.topology.consumers.path(in_flight.queue, in_flight.priority)
        self.request_subject = f"$JS.API.CONSUMER.MSG.NEXT.{path}"
        self._prefix = len(
            in_flight.session.subjects.queued(in_flight.queue, in_flight.priority, "")
        )
        self.inbox = self._connection.new_inbox()
        self._subscription = self._connection.subscribe(self.inbox, self._on_message)
        self._stopping = False
        self.outstanding = 0
        self.idle = False
        self.responded = False
        self.is_broken = False

    def pull(self, count: int, mode: PullMode) -> None:
        """Request some more messages."""
        self.outstanding += count
        self._connection.send(self.request_subject, _request(count, mode), reply=self.inbox)

    def reset(self) -> None:
        """Forget the standing pulls: the server has."""
        self.outstanding = 0
        self.idle = self.is_broken = self.responded = False

    def probe(self) -> None:
        """Pull one message if it is there now: answered at once by a consumer that has a leader."""
        self.pull(1, PullMode.NO_WAIT)

    def withdraw(self) -> Subscription:
        """Give up the standing pulls; what is returned is to be drained of what is on the way."""
        given_up, self.inbox = self._subscription, self._connection.new_inbox()
        self._subscription = self._connection.subscribe(self.inbox, self._on_message)
        self.outstanding = 0
        return given_up

    async def stop(self) -> None:
        """Withdraw the pulls; what is on the way is released."""
        if self._stopping:
            return
        self._stopping = True
        await self._subscription.drain()

    def _on_message(self, subject: str, reply: str, data: bytes, block: bytes | None) -> None:
        self.responded = True
        if not reply:
            self._on_status(block)
            return
        # Read in place where it is the usual form: a tuple per run costs on this path.
        tokens = reply.split(".")
        if len(tokens) == _PLAIN_TOKENS:
            deliveries, seq, pending = int(tokens[4]), tokens[5], tokens[8]
        else:
            ack = parse_ack_subject(reply)
            deliveries, seq, pending = ack.deliveries, str(ack.stream_seq), str(ack.pending)
        # May be 0: what was pulled before a reconnect can still arrive.
        if self.outstanding > 0:
            self.outstanding -= 1
        if self.outstanding == 0:
            self.idle = pending == "0"
            self._owner.on_answered(self)
        if (mine := self.in_flight.held.get(seq)) is not None:
            # Our lease ran out, yet we live, or the server was killed and has forgotten that it
            # had delivered it: the run must not start a second time here.
            self.in_flight.redelivered(mine, reply)
            if deliveries > 1:
                self._owner.on_redelivered(mine)
            return
        run_id = subject[self._prefix :]
        if is_run_id(run_id):
            delivery = NatsDelivery(self.in_flight, run_id, data, deliveries, reply, seq)
        else:
            delivery = self._unaddressed(run_id, data, deliveries, reply, seq)
        has_more = block is not None and headers.OWN in block
        at = self._read_headers(delivery, block) if has_more else 0.0
        self.in_flight.hold(delivery)
        if self.is_broken:
            self._revive()
        if self._stopping:
            self._owner.refuse(delivery)
        else:
            self._owner.on_delivery(delivery, at)

    def _read_headers(self, delivery: NatsDelivery, block: bytes | None) -> float:
        """Take what jtask's own headers say of a run; return when it may start."""
        delivery.lost_workers = headers.number(block, headers.LOST) or 0
        if (own := headers.number(block, headers.PRIORITY)) is not None:
            delivery.set_own_priority(own)
        delivery.token = headers.token_of(block)
        millis = headers.number(block, headers.AT)
        if millis is None:
            return 0.0
        return self.in_flight.session.topology.clock.to_ours(millis / 1000)

    def _unaddressed(
        self, token: str, data: bytes, deliveries: int, reply: str, seq: str
    ) -> NatsDelivery:
        # Nothing may be addressed by it: it can hold wildcards, controls or broken UTF-8.
        run_id = get_run_ids().new()
        delivery = NatsDelivery(self.in_flight, run_id, data, deliveries, reply, seq)
        delivery.problem = f"its subject ends in {quoted(token)}, which is not a run id"
        return delivery

    def _revive(self) -> None:
        self.is_broken = False
        self._owner.on_answered(self)

    def _on_status(self, block: bytes | None) -> None:
        """Take a status message about a pull."""
        status, description = status_of(block)
        if self.is_broken and status in _SIGNS_OF_LIFE:
            self._revive()
        if status == 100:
            return
        # How many of the pull's messages will not come.
        left = headers.number(block, b"Nats-Pending-Messages")
        self.outstanding = 0 if left is None else max(0, self.outstanding - left)
        match status:
            case 404:
                self.idle = True
            case 408:
                # Ended by the clock: something may have come since the server last looked.
                self.idle = False
            case 409 if "Leadership Change" in description or "Shutdown" in description:
                # The new leader knows nothing of our pulls.
                self.outstanding = 0
            case _:
                # Consumer deleted, no responders, too many pulls: pulling again does not help.
                self.outstanding = 0
                self.is_broken = True
                self._owner.on_broken(self, description.strip() or f"status {status}")
        self._owner.on_answered(self)


# Once: it is sent when the thread that executes what has come is about to want the interpreter.
@lru_cache(maxsize=256)
def _request(count: int, mode: PullMode) -> bytes:
    return json.dumps({"batch": count, **_OPTIONS[mode]}).encode()
