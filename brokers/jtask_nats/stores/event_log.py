"""Events: batches in a stream, sent without waiting for an answer."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from pydantic_core import from_json, to_json

from jtask.contract import Event
from jtask_nats.client.connection import Subscription
from jtask_nats.client.direct_reads import read_all
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream

_OVERHEAD = 1024  # bytes; max_payload counts headers too
_FIELDS = len(Event._fields)


class NatsEventLog:
    """A `jtask.contract.EventLog`.

    Args:
        session: To the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._subject = session.subjects.events(session.client)

    def append(self, events: Sequence[Event]) -> None:
        """Send a batch; fire and forget."""
        for body in bodies(events, self._session.connection.max_payload - _OVERHEAD):
            # No answer from the stream is awaited: to observe a run must not slow it down.
            self._session.connection.send(self._subject, body)

    async def read(self, *, since: float | None = None) -> AsyncIterator[Event]:
        """Read back what is kept, oldest first, up to now."""
        session = self._session
        stream = session.topology.stream_name(Stream.EVENTS)
        subject = session.subjects.all_events
        async for stored in read_all(session.connection, stream, subject, since=since):
            for event in events_of(stored.body):
                yield event

    def follow(self) -> AsyncIterator[Event]:
        """Yield events as they arrive, from now on, for ever."""
        arrived: asyncio.Queue[bytes] = asyncio.Queue()

        def receive(subject: str, reply: str, data: bytes, block: bytes | None) -> None:
            del subject, reply, block
            arrived.put_nowait(data)

        connection = self._session.connection
        # Here and not in the generator, which begins only when the first event is asked for.
        subscription = connection.subscribe(self._session.subjects.all_events, receive)
        return _events_from(arrived, subscription)


async def _events_from(
    arrived: asyncio.Queue[bytes], subscription: Subscription
) -> AsyncIterator[Event]:
    try:
        while True:
            for event in events_of(await arrived.get()):
                yield event
    finally:
        subscription.unsubscribe()


def bodies(events: Sequence[Event], limit: int) -> Iterator[bytes]:
    """Yield messages that hold some events, each as a JSON array of arrays within a size."""
    # Plain strings in plain tuples are encoded several times as fast as enums in named ones.
    body = to_json([(event.run_id, str(event.state), *event[2:]) for event in events])
    if len(body) <= limit:
        yield body
    elif len(events) > 1:  # a single one that is too large is dropped
        half = len(events) // 2
        yield from bodies(events[:half], limit)
        yield from bodies(events[half:], limit)


def events_of(body: bytes) -> list[Event]:
    """Return the events of one message; a later version may have written longer rows."""
    rows: list[list[Any]] = from_json(body)
    return [Event(*row[:_FIELDS]) for row in rows]
