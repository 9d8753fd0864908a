"""The logs of runs, and the items of generators: batches of lines, on a subject for each run."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, cast

from pydantic_core import from_json, to_json

from jtask.contract import LogLine, LogPage
from jtask.foreign_text import sendable
from jtask.ids import is_run_id
from jtask.wire.fields import LATEST
from jtask_nats.client.direct_reads import read_pages
from jtask_nats.client.headers import message_id
from jtask_nats.stores.news import News, NewsSubscription
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream
from jtask_nats.streams.subjects import encode_token

_FIELDS = len(LogLine._fields) - 1  # the subject has the run id
_SIZE = 128 * 1024  # bytes of a message; a page has up to 512 of them, and 8 MiB


class NatsLogs:
    """A `jtask.contract.LogStore`.

    Args:
        session: To the server.
        stream: Where they are stored.
        subject: Returns where the lines of a run go.
        news: Returns where it is told that more of them are stored.
        size: Of a message, in bytes.
    """

    def __init__(
        self,
        session: Session,
        stream: Stream,
        subject: Callable[[str], str],
        news: Callable[[str], str],
        size: int,
    ) -> None:
        self._session = session
        self._stream = stream
        self._subject = subject
        self._news = news
        self._size = size
        self._told = News(session.connection)

    @classmethod
    def of_logs(cls, session: Session) -> "NatsLogs":
        """Return the store of what runs log."""
        subjects = session.subjects
        return cls(session, Stream.LOGS, subjects.log, subjects.log_news, _SIZE)

    @classmethod
    def of_items(cls, session: Session) -> "NatsLogs":
        """Return the store of the items of generators, each of which may fill a message."""
        subjects, size = session.subjects, session.inline_limit
        return cls(session, Stream.ITEMS, subjects.items, subjects.item_news, size)

    def close(self) -> None:
        """Push no news any more."""
        self._told.close()

    async def append(self, lines: Sequence[LogLine]) -> None:
        """Store lines of one or more runs."""
        session = self._session
        await session.topology.ensure(self._stream)
        limit = min(self._size, session.inline_limit)
        stored = [
            session.publisher.publish(self._subject(run_id), body, _id_of(first))
            for run_id, of_run in _by_run(lines).items()
            for first, body in _bodies(of_run, limit)
        ]
        await asyncio.gather(*stored)

    async def read(
        self, run_id: str, *, after: int = 0, to_the_last: bool = False
    ) -> AsyncIterator[LogPage]:
        """Read what is kept of one run, oldest first, up to now, a page at a time."""
        if not is_run_id(run_id):
            return  # it could address those of others
        session = self._session
        await session.topology.ensure(self._stream)
        stream, subject = session.topology.stream_name(self._stream), self._subject(run_id)
        pages = read_pages(
            session.connection, stream, subject, after=after, to_the_last=to_the_last
        )
        async for page in pages:
            # The last page may be empty.
            if page:
                lines = [line for stored in page for line in lines_of(run_id, stored.body)]
                yield LogPage(lines, page[-1].sequence)

    async def watch(self, run_id: str, on_news: Callable[[], None]) -> NewsSubscription:
        """Push the news that more lines of a run are stored."""
        await self._session.topology.ensure(self._stream)
        return await self._told.watch(self._news(run_id), on_news)


def lines_of(run_id: str, body: bytes) -> list[LogLine]:
    """Return the lines of one message; a later version may have written longer rows."""
    try:
        rows: object = from_json(body)
    except ValueError:
        return []
    if not isinstance(rows, list):
        return []
    found = (_line_of(run_id, row) for row in cast("list[object]", rows))
    return [line for line in found if line is not None]


def _line_of(run_id: str, row: object) -> LogLine | None:
    """Return what a row says, or None: one that anybody wrote must not hide all others."""
    try:
        line = LogLine(run_id, *cast("list[Any]", row)[:_FIELDS])
        is_readable = (
            0 <= line.at <= LATEST
            and _are(int, line.level, line.attempt, line.number)
            and _are(str, line.logger, line.message, line.worker)
        )
    # No list, too short, or a value that cannot be compared.
    except (TypeError, LookupError):
        return None
    return line if is_readable else None


def _are(kind: type, *values: object) -> bool:
    return all(isinstance(value, kind) for value in values)


def _by_run(lines: Sequence[LogLine]) -> dict[str, list[LogLine]]:
    runs: dict[str, list[LogLine]] = {}
    for line in lines:
        runs.setdefault(line.run_id, []).append(line)
    return runs


def _bodies(lines: Sequence[LogLine], limit: int) -> Iterator[tuple[LogLine, bytes]]:
    """Yield messages within a size, each with its first line."""
    body = _encode(lines)
    if len(body) <= limit:
        yield lines[0], body
    elif len(lines) > 1:  # a single one that is too large is dropped
        half = len(lines) // 2
        yield from _bodies(lines[:half], limit)
        yield from _bodies(lines[half:], limit)


def _id_of(line: LogLine) -> bytes:
    """Return the header by which the server knows a batch that is sent again."""
    writer = encode_token(line.worker)
    return message_id(f"{line.run_id}.{line.attempt}.{writer}.{line.number}")


def _encode(lines: Sequence[LogLine]) -> bytes:
    rows: list[tuple[Any, ...]] = [line[1:] for line in lines]
    try:
        return to_json(rows)
    except ValueError:  # half a character
        return to_json([[sendable(it) if isinstance(it, str) else it for it in r] for r in rows])
