"""The wishes that runs end, as they are stored until they are fulfilled; on the I/O thread."""

import json
import time
from dataclasses import dataclass, replace

from jtask.contract import FullBroker, Record, WaitingRun
from jtask.errors import EnvelopeError
from jtask.ids import created_at
from jtask.states import State
from jtask.wire.envelope import Envelope, decode_envelope

_BUCKET = "cancellations"
_ASKED = "asked"


@dataclass(frozen=True, slots=True)
class Wish:
    """The stored wish that a run end. Instants are seconds since the epoch.

    Attributes:
        run_id: The run.
        message: Why, kept with its state.
        at: Since when; tells it from other wishes for the same run.
        head: The envelope without its payload, if the run was seen waiting.
        queue: Where the run was seen waiting.
        claimed: Until then somebody tells the plugins of the run's end.
        revision: Of its record; 0 when it is not stored.
    """

    run_id: str
    message: str
    at: float
    head: bytes = b""
    queue: str = ""
    claimed: float = 0.0
    revision: int = 0

    @property
    def envelope(self) -> Envelope:
        """The run without its arguments, or what little is known of it."""
        return readable(self.run_id, self.head)

    @property
    def details(self) -> dict[str, object]:
        """What the state of a run has that was ended on its queue for this wish."""
        return {_ASKED: self.at}

    def ended(self, state: State | None) -> bool:
        """Tell whether a state is that of a run that was ended on its queue for this wish."""
        return state is not None and state.details.get(_ASKED) == self.at

    def seen(self, found: WaitingRun) -> "Wish":
        """Return the wish with what the waiting run says."""
        return replace(self, head=found.body.partition(b"\n")[0], queue=found.queue)

    def encode(self) -> bytes:
        """Return the body of its record."""
        facts = {
            "message": self.message,
            "at": self.at,
            "queue": self.queue,
            "claimed": self.claimed,
        }
        return b"%b\n%b" % (json.dumps(facts).encode(), self.head)


async def wishes(broker: FullBroker) -> list[Wish]:
    """Return the wishes that are not known to be fulfilled."""
    return [_read(record) for record in await broker.records(_BUCKET)]


async def find_wish(broker: FullBroker, run_id: str) -> Wish | None:
    """Return the wish for a run's end; None when there is none or no more."""
    record = await broker.get_record(_BUCKET, run_id)
    return None if record is None else _read(record)


async def store_wish(broker: FullBroker, run_id: str, message: str) -> tuple[Wish, bool]:
    """Store a wish, or take over the one that is there; tell whether it is the first."""
    while True:
        earlier = await find_wish(broker, run_id)
        found = await broker.find_waiting(run_id)
        wish = earlier or Wish(run_id, message, time.time())
        wish = replace(wish, message=message)
        if found is not None:
            wish = wish.seen(found)
        if await change_wish(broker, wish):
            return wish, earlier is None


async def change_wish(broker: FullBroker, wish: Wish) -> bool:
    """Store a wish unless its record was changed since it was read."""
    return await broker.put_record(_BUCKET, wish.run_id, wish.encode(), revision=wish.revision)


async def forget(broker: FullBroker, run_id: str) -> None:
    """Forget a wish."""
    await broker.delete_record(_BUCKET, run_id)


def readable(run_id: str, body: bytes) -> Envelope:
    """Return the envelope of a run, or one that says as little as is known."""
    try:
        return decode_envelope(body)
    except EnvelopeError:
        return Envelope(run_id, "", "", "json", b"", created_at(run_id))


def _read(record: Record) -> Wish:
    line, _, head = record.body.partition(b"\n")
    facts = json.loads(line)
    return Wish(
        run_id=record.key,
        message=str(facts["message"]),
        at=float(facts["at"]),
        head=head,
        queue=str(facts.get("queue", "")),
        claimed=float(facts.get("claimed", 0.0)),
        revision=record.revision,
    )
