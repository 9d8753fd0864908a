"""The requests that runs end, as they are stored until they are fulfilled; on the I/O thread."""

import json
import time
from dataclasses import dataclass, replace

from jtask.contract import Broker, Record, WaitingRun, is_name
from jtask.errors import EnvelopeError
from jtask.foreign_text import cut, sendable
from jtask.ids import created_at, is_run_id
from jtask.states import State
from jtask.wire.envelope import Envelope, decode_envelope
from jtask.wire.fields import finite, known_fields

_BUCKET = "cancellations"
_ASKED = "asked"
_MESSAGE = 10_000  # characters
_CLOCKS = 86_400.0  # seconds by which the clocks of two machines may differ at the very most


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """The stored request that a run end. Instants are seconds since the epoch.

    Attributes:
        run_id: The run.
        message: Why, kept with its state.
        at: Since when; tells it from other requests for the same run.
        head: The envelope without its payload, if the run was seen waiting.
        queue: Where the run was seen waiting.
        token: What the run had been given when it was seen waiting (`Delivery.token`).
        claimed: Until then somebody tells the plugins of the run's end.
        revision: Of its record; 0 when it is not stored.
    """

    run_id: str
    message: str
    at: float
    head: bytes = b""
    queue: str = ""
    token: str | None = None
    claimed: float = 0.0
    revision: int = 0

    @property
    def envelope(self) -> Envelope:
        """The run without its arguments, or what little is known of it."""
        return readable(self.run_id, self.head)

    @property
    def details(self) -> dict[str, object]:
        """What the state of a run has that was ended on its queue for this request."""
        return {_ASKED: self.at}

    def ended(self, state: State | None) -> bool:
        """Tell whether a state is that of a run that was ended on its queue for this request."""
        return state is not None and state.details.get(_ASKED) == self.at

    def seen(self, found: WaitingRun) -> "CancelRequest":
        """Return the request with what the waiting run says."""
        head = found.body.partition(b"\n")[0]
        return replace(self, head=head, queue=found.queue, token=found.token)

    def encode(self) -> bytes:
        """Return the body of its record."""
        facts = {
            "message": self.message,
            "at": self.at,
            "queue": self.queue,
            "token": self.token,
            "claimed": self.claimed,
        }
        return b"%b\n%b" % (json.dumps(facts).encode(), self.head)


async def cancel_requests(broker: Broker) -> list[CancelRequest]:
    """Return the requests that are not known to be fulfilled."""
    records = await broker.records.list(_BUCKET)
    # Nothing may be asked about a key that is no run's: `*` would be all of them.
    return [_read(record) for record in records if is_run_id(record.key)]


async def find_cancel_request(broker: Broker, run_id: str) -> CancelRequest | None:
    """Return the request for a run's end; None when there is none or no more."""
    if not is_run_id(run_id):
        return None
    record = await broker.records.get(_BUCKET, run_id)
    return None if record is None else _read(record)


async def store_cancel_request(
    broker: Broker, run_id: str, message: str
) -> tuple[CancelRequest, bool]:
    """Store a request, or take over the one that is there.

    Args:
        broker: Where it is stored.
        run_id: The run.
        message: Why; it replaces that of an earlier request.

    Returns:
        tuple[CancelRequest, bool]: The stored request, and whether it is the first for the run.
    """
    while True:
        earlier = await find_cancel_request(broker, run_id)
        found = await broker.queues.find(run_id)
        request = earlier or CancelRequest(run_id, message, time.time())
        request = replace(request, message=message)
        if found is not None:
            request = request.seen(found)
        # Somebody else may have stored or deleted a request meanwhile: look again then.
        if await change_cancel_request(broker, request):
            return request, earlier is None


async def change_cancel_request(broker: Broker, request: CancelRequest) -> bool:
    """Store a request unless its record was changed since it was read.

    Args:
        broker: Where it is stored.
        request: The request; its `revision` is the one that it was read with.

    Returns:
        bool: Whether it was stored.
    """
    return await broker.records.put(
        _BUCKET, request.run_id, request.encode(), revision=request.revision
    )


def kept_message(text: str) -> str:
    """Return what is kept of why a run is to end, whoever has written that."""
    # It goes into states, logs and answers, which half a character would break.
    return sendable(cut(text, _MESSAGE))


async def forget(broker: Broker, run_id: str) -> None:
    """Delete a request."""
    await broker.records.delete(_BUCKET, run_id)


def readable(run_id: str, body: bytes) -> Envelope:
    """Return the envelope of a run, or one that says as little as is known."""
    try:
        return decode_envelope(body)
    except EnvelopeError:
        return Envelope(run_id, "", "", "json", b"", created_at(run_id))


def _read(record: Record) -> CancelRequest:
    """Return what a record says; one that cannot be read is a request so old that it is dropped."""
    line, _, head = record.body.partition(b"\n")
    facts = known_fields(line)
    at, claimed = finite(facts.get("at")) or 0.0, finite(facts.get("claimed")) or 0.0
    queue, token = str(facts.get("queue", "")), facts.get("token")
    return CancelRequest(
        run_id=record.key,
        message=kept_message(str(facts.get("message", ""))),
        # Nobody can have asked tomorrow: such a request would never be outdated.
        at=at if 0.0 <= at <= time.time() + _CLOCKS else 0.0,
        head=head,
        queue=queue if is_name(queue) else "",
        token=token if isinstance(token, str) else None,
        claimed=claimed,
        revision=record.revision,
    )
