"""Events: batches in a stream, sent without waiting for an answer.

A batch holds events of many runs, so that to observe a run costs next to nothing. To read one run
without reading all, the runs are spread over shards, each a subject of its own that the server can
filter by.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from json import encoder
from operator import itemgetter
from typing import Any, cast

from pydantic_core import from_json, to_json

from jtask.contract import Event, EventBounds, EventGroup, EventPage
from jtask.foreign_text import sendable
from jtask.ids import CLIENT_HEX, is_run_id
from jtask.states import StateName
from jtask.wire.fields import LATEST
from jtask_nats.client.direct_reads import read_all, read_pages
from jtask_nats.client.insisting import InsistingSender
from jtask_nats.client.jetstream_api import call_known_stream
from jtask_nats.stores.news import News, NewsSubscription
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream

# Written in C where that is there; the public functions of the module take three times as long.
_quoted: Callable[[str], str] = encoder.encode_basestring
_OVERHEAD = 1024  # bytes; max_payload counts headers too
_FIELDS = len(Event._fields)
_BRIEF = Event._fields.index("tags")  # fields of an event that is not the first of its run
_NO_MORE = tuple(Event("", "", 0.0, ""))[_BRIEF:]
_brief: Callable[[Event], tuple[Any, ...]] = itemgetter(slice(_BRIEF))
_more_of: Callable[[Event], tuple[Any, ...]] = itemgetter(slice(_BRIEF, None))
# Seconds: the batches that clients send in this time are told of together.
_REST = 0.05
_SHARDS = frozenset("0123456789abcdef")
_DIGIT = slice(-CLIENT_HEX - 1, -CLIENT_HEX)  # of a run id, the last of its counter
_NO_RUN_ID = "0"
_STATES = frozenset(map(str, StateName))


class NatsEventLog:
    """A `jtask.contract.EventLog`.

    Args:
        session: To the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._news = News(session.connection, rest=_REST)
        self._sender = InsistingSender(session.connection, session.publisher)

    def close(self) -> None:
        """Push no news any more."""
        self._news.close()

    def append(self, events: Sequence[Event]) -> None:
        """Send a batch; fire and forget."""
        session = self._session
        limit = session.connection.max_payload - _OVERHEAD
        if isinstance(events, EventGroup):
            written = group_bodies(events, limit)
        else:
            written = sharded_bodies(events, limit)
        # All before the first is sent: where one cannot be written, they come again in other parts.
        for shard, body in list(written):
            # No answer from the stream is awaited: to observe a run must not slow it down.
            self._sender.send(session.subjects.events(shard), body)

    async def drain(self) -> None:
        """Wait until the batches are stored that a cluster has not confirmed yet."""
        await self._sender.drain()

    async def read(self, *, since: float | None = None) -> AsyncIterator[Event]:
        """Read back what is kept, oldest first, up to now."""
        async for event in self._read(self._session.subjects.all_events, since):
            yield event

    async def read_run(self, run_id: str, *, since: float | None = None) -> AsyncIterator[Event]:
        """Read back what is kept of one run, oldest first, up to now."""
        async for event in self._read(self._session.subjects.events(shard_of(run_id)), since):
            if event.run_id == run_id:
                yield event

    async def read_pages(self, *, after: int = 0) -> AsyncIterator[EventPage]:
        """Read what is kept, oldest first, up to now, a page at a time."""
        session = self._session
        stream = session.topology.stream_name(Stream.EVENTS)
        subject = session.subjects.all_events
        async for page in read_pages(session.connection, stream, subject, after=after):
            # The last page may be empty.
            if page:
                events = [event for stored in page for event in events_of(stored.body)]
                yield EventPage(events, page[0].sequence, page[-1].sequence)

    async def bounds(self) -> EventBounds:
        """Return what is kept now."""
        session = self._session
        await session.topology.ensure(Stream.EVENTS)
        stream = session.topology.stream_name(Stream.EVENTS)
        info = await call_known_stream(session.connection, f"STREAM.INFO.{stream}")
        first, last = int(info["state"]["first_seq"]), int(info["state"]["last_seq"])
        # Of an empty stream the server says 0, or where the next message will be.
        return EventBounds(info["created"], min(max(1, first), last + 1), last)

    async def watch(self, on_news: Callable[[], None]) -> NewsSubscription:
        """Push the news that there are more events."""
        await self._session.topology.ensure(Stream.EVENTS)
        # What is sent to the stream itself: it may be stored only a moment later.
        return await self._news.watch(self._session.subjects.all_events, on_news)

    async def _read(self, subject: str, since: float | None) -> AsyncIterator[Event]:
        session = self._session
        stream = session.topology.stream_name(Stream.EVENTS)
        async for stored in read_all(session.connection, stream, subject, since=since):
            for event in events_of(stored.body):
                yield event


def shard_of(run_id: str) -> str:
    """Return the shard of a run: one of 16, by the last digit of its counter.

    The counter ends where the id of the client begins; run ids of one process follow each other, so
    they spread evenly.
    """
    digit = run_id[_DIGIT]
    # An id that is not a run id must not make a subject of its own.
    return digit if digit in _SHARDS else _NO_RUN_ID


def by_shard(events: Sequence[Event]) -> dict[str, list[Event]]:
    """Group events by shard, in order."""
    digits: dict[str, list[Event]] = {}
    for event in events:
        # As `shard_of`, which is asked once for each digit and not for each event.
        digits.setdefault(event[0][_DIGIT], []).append(event)
    shards: dict[str, list[Event]] = {}
    for batch in digits.values():
        shards.setdefault(shard_of(batch[0].run_id), []).extend(batch)
    return shards


def sharded_bodies(events: Sequence[Event], limit: int) -> Iterator[tuple[str, bytes]]:
    """Yield shards and messages that hold the events of some runs, see `bodies`."""
    for shard, batch in by_shard(events).items():
        for body in bodies(batch, limit):
            yield shard, body


def group_bodies(group: EventGroup, limit: int) -> Iterator[tuple[str, bytes]]:
    """Yield shards and messages that hold the events of a group, as `bodies` writes them."""
    common = group.common
    # As `_encode` does, in a few steps for all: what is common is written once.
    middle = to_json([*common[1 : Event._fields.index("arguments")]])[1:-1].decode()
    error = _quoted(common.error)
    columns = (group.run_ids, map(_quoted, group.arguments), map(_quoted, group.trace_ids))
    shards: dict[str, list[str]] = {}
    for run_id, arguments, trace_id in zip(*columns, strict=True):
        row = f'["{run_id}",{middle},{arguments},{error},{trace_id}]'
        shards.setdefault(run_id[_DIGIT], []).append(row)
    for shard, rows in shards.items():
        for body in _arrays(rows, limit):
            yield shard, body


def _arrays(rows: Sequence[str], limit: int) -> Iterator[bytes]:
    body = f"[{','.join(rows)}]".encode()
    if len(body) <= limit:
        yield body
    elif len(rows) > 1:  # as in `bodies`
        half = len(rows) // 2
        yield from _arrays(rows[:half], limit)
        yield from _arrays(rows[half:], limit)


def bodies(events: Sequence[Event], limit: int) -> Iterator[bytes]:
    """Yield messages that hold some events, each as a JSON array of arrays within a size."""
    body = _encode(events)
    if len(body) <= limit:
        yield body
    elif len(events) > 1:  # a single one that is too large is dropped
        half = len(events) // 2
        yield from bodies(events[:half], limit)
        yield from bodies(events[half:], limit)


def events_of(body: bytes) -> list[Event]:
    """Return the events of one message; a later version may have written longer rows."""
    try:
        rows: object = from_json(body)
    except ValueError:
        return []
    if not isinstance(rows, list):
        return []
    found = map(_event_of, cast("list[object]", rows))
    return [event for event in found if event is not None]


def _event_of(row: object) -> Event | None:
    """Return what a row says, or None: one that anybody wrote must not hide all others."""
    try:
        event = Event(*cast("list[Any]", row)[:_FIELDS])
        event = event._replace(tags=tuple(event.tags)) if event.tags != () else event
        is_readable = (
            is_run_id(event.run_id)
            and event.state in _STATES
            and _are(str, event.task, event.worker, event.detail)
            and _are(str, event.parent, event.version, event.queue, event.run_name)
            and _are(str, event.arguments, event.error, event.trace_id)
            and _are(str, *event.tags)
            and _are(int, event.attempt)
            and 0 <= event.at <= LATEST
            and (event.until is None or 0 <= event.until <= LATEST)
        )
    # No list, too short, or a value that cannot be compared.
    except (TypeError, LookupError):
        return None
    return event if is_readable else None


def _are(kind: type, *values: object) -> bool:
    return all(isinstance(value, kind) for value in values)


def _encode(events: Sequence[Event]) -> bytes:
    # What only the first event of a run says is left out of the others: mostly of all.
    if [*map(_more_of, events)].count(_NO_MORE) == len(events):
        rows: list[tuple[Any, ...]] = [*map(_brief, events)]
    else:
        rows = [_brief(event) if event[_BRIEF:] == _NO_MORE else tuple(event) for event in events]
    try:
        return to_json(rows)
    except ValueError:  # half a character, say of a file's name in an error
        return to_json([[_sendable(one) for one in row] for row in rows])


def _sendable(value: Any) -> Any:
    if isinstance(value, tuple):  # tags
        return [_sendable(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    return sendable(value) if isinstance(value, str) else value
