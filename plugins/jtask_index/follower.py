"""Follow the event log into the index, from where it was left."""

import logging
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from jtask.contract import Event, EventBounds
from jtask.errors import BrokerError, IndexUnavailable
from jtask.rate_limited_log import RateLimitedLog
from jtask_index.amending import SilentRuns
from jtask_index.mirror import read_present, write_present
from jtask_index.retention import Limits, trim
from jtask_index.writer import Followed, IndexWriter

if TYPE_CHECKING:
    from concurrent.futures import Future

    from jtask.client import Client

_log = logging.getLogger("jtask.index")
_BATCH = 20_000  # events in one transaction, and what else is on their page
_LOOK = 2.0  # seconds between two looks at a log of which no news comes
_GATHER = 0.1  # seconds in which events gather, and in which the log stores those it told of
_PAUSES = (1.0, 30.0)  # seconds after a failure: the first and the longest
_TRIM = 60.0  # seconds between two looks at what is too old
_MIRROR = 10.0  # seconds between two looks at workers, schedules and dead letters
QUIET = 300.0
"""Seconds without news after which an event may have been lost."""
_SHARE = 20  # times as long as such a look took, the next one waits at least


OnChange = Callable[[Sequence[Event] | None], object]
"""Takes the events that the index has taken in; None where it is not known what has changed."""


def tell_nobody(_events: Sequence[Event] | None) -> None:
    """Tell nobody."""


class _Batch(NamedTuple):
    events: list[Event]
    first: int
    position: int


class Follower:
    """Keep the index at the end of the event log, until it is stopped.

    Args:
        client: Whose broker has the log.
        writer: Of the index.
        limits: How much it keeps.
        quiet: Seconds without news of a run, which is not over, after which it is asked about.
        on_change: Told what is new in the index, in the thread of `run`.
    """

    def __init__(
        self,
        client: "Client",
        writer: IndexWriter,
        limits: Limits,
        *,
        quiet: float = QUIET,
        on_change: OnChange = tell_nobody,
    ) -> None:
        self._client = client
        self._writer = writer
        self._limits = limits
        self._news = threading.Event()
        self._stopped = threading.Event()
        self._failures = RateLimitedLog(60.0)
        self._on_change = on_change
        self._told = Followed("", 0)
        self._silent = SilentRuns(client, writer, quiet, on_change)
        self._trim_at = self._mirror_at = 0.0
        self.applied = 0
        """How many events this follower has applied."""

    @property
    def url(self) -> str:
        """Where the index is, without credentials."""
        return self._writer.engine.url.render_as_string()

    def clear(self) -> None:
        """Delete what is known of runs; `catch_up` reads it anew."""
        self._writer.clear()

    def stop(self) -> None:
        """Have `run` return soon; from any thread."""
        self._stopped.set()
        self._news.set()

    def close(self) -> None:
        """Close the connections to the index; what is called next opens one again."""
        self._writer.close()

    def run(self) -> None:
        """Follow the log in this thread, whatever happens to broker and database, and close."""
        try:
            self._run()
        finally:
            self.close()

    def catch_up(self) -> int:
        """Apply what the log has, up to now.

        Returns:
            int: How many events were applied here.

        Raises:
            BrokerError: The log cannot be read.
            IndexUnavailable: The database cannot be written.
        """
        applied = 0
        while not self._stopped.is_set():
            before = self._begin()
            if before is None:
                continue
            count, is_done = self._follow(before)
            applied += count
            if is_done:
                break
        self.applied += applied
        return applied

    def _run(self) -> None:
        pause, longest = _PAUSES
        while not self._stopped.is_set():
            try:
                with self._watching():
                    while not self._stopped.is_set():
                        self._news.clear()
                        self.catch_up()
                        self._trim()
                        self._mirror()
                        self._silent.look()
                        pause = _PAUSES[0]
                        self._news.wait(_LOOK)
                        self._stopped.wait(_GATHER)
            except (BrokerError, IndexUnavailable) as error:
                self._complain(error)
                self._stopped.wait(pause)
                pause = min(2 * pause, longest)

    def _begin(self) -> Followed | None:
        """Return where to read on; None where somebody else has just changed that."""
        followed = self._writer.followed()
        if followed != self._told:
            # Somebody else has gone on.
            self._told = followed
            self._on_change(None)
        bounds = self._client.io.run(self._client.broker.events.bounds())
        start, missed = starting_point(followed, bounds)
        if start == followed:
            return followed
        if missed:
            _log.warning("%d messages of events were dropped before they were indexed", missed)
        return start if self._writer.apply([], followed, start, missed=missed) else None

    def _follow(self, before: Followed) -> tuple[int, bool]:
        """Apply batch after batch; return how many events, and whether that was all."""
        applied = 0
        # While one is written, the next one is read.
        reading = self._read(before.position)
        try:
            while (batch := reading.result()) is not None and not self._stopped.is_set():
                reading = self._read(batch.position)
                after = Followed(before.identity, batch.position)
                missed = max(0, batch.first - before.position - 1)
                oldest = time.time() - self._limits.ttl
                if not self._writer.apply(
                    batch.events, before, after, missed=missed, oldest=oldest
                ):
                    return applied, False
                applied += len(batch.events)
                before = self._told = after
                self._on_change(batch.events)
        finally:
            reading.cancel()
        return applied, True

    def _read(self, after: int) -> "Future[_Batch | None]":
        return self._client.io.submit(self._next_batch(after))

    async def _next_batch(self, after: int) -> _Batch | None:
        batch: _Batch | None = None
        async for page in self._client.broker.events.read_pages(after=after):
            if batch is None:
                batch = _Batch(page.events, page.first, page.position)
            else:
                batch.events.extend(page.events)
                batch = batch._replace(position=page.position)
            if len(batch.events) >= _BATCH:
                break
        return batch

    @contextmanager
    def _watching(self) -> Generator[None]:
        io, events = self._client.io, self._client.broker.events
        subscription = io.run(events.watch(self._news.set))
        try:
            yield
        finally:
            io.run(subscription.close())

    def _trim(self) -> None:
        if time.monotonic() < self._trim_at:
            return
        trimmed = trim(self._writer, self._limits)
        if trimmed.runs:
            _log.info("%d runs were deleted from the index", trimmed.runs)
        # With more to delete it goes on after the next events.
        if trimmed.is_all:
            self._trim_at = time.monotonic() + _TRIM

    def _mirror(self) -> None:
        begun = time.monotonic()
        if begun < self._mirror_at:
            return
        present = self._client.io.run(read_present(self._client.broker))
        write_present(self._writer.engine, present)
        now = time.monotonic()
        # All dead letters are read each time, and there may be very many.
        self._mirror_at = now + max(_MIRROR, _SHARE * (now - begun))

    def _complain(self, error: Exception) -> None:
        if self._failures.count(type(error).__name__):
            _log.warning("the index stands still, and will go on by itself: %s", error)


def starting_point(followed: Followed, bounds: EventBounds) -> tuple[Followed, int]:
    """Return where to read on in a log, and how many messages are gone that were not read.

    Args:
        followed: How far it was read before.
        bounds: What it keeps now.
    """
    if followed.identity != bounds.identity:
        # Nobody counts what was there before there was an index.
        return Followed(bounds.identity, bounds.first - 1), 0
    if followed.position > bounds.last:
        # The broker has lost its end in a crash, and gives the same positions to others now.
        return Followed(bounds.identity, bounds.last), 0
    missed = bounds.first - 1 - followed.position
    if missed <= 0:
        return followed, 0
    return Followed(bounds.identity, bounds.first - 1), missed
