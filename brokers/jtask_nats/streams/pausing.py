"""Pauses of queues: kept as records, and applied to each consumer, which is what holds runs back.

A consumer that is made later is created paused. Whoever applies a pause to a consumer reads the
record once more afterwards, so that of two who change it at the same moment the last one counts.
"""

import asyncio
import logging
import re
import secrets
import time
from datetime import datetime
from typing import Any

from jtask.contract import Pause, is_name
from jtask.errors import PermissionDenied
from jtask_nats.client import headers
from jtask_nats.client.connection import Connection
from jtask_nats.client.direct_reads import latest_message, read_all
from jtask_nats.client.jetstream_api import call_known_stream
from jtask_nats.client.nats_errors import CONSUMER_NOT_FOUND, ApiError
from jtask_nats.client.publisher import Publisher
from jtask_nats.client.purging import purge
from jtask_nats.streams.consumers import Consumers
from jtask_nats.streams.subjects import Subjects, last_token

_ENDLESS = 32_503_680_000.0
"""The year 3000: the server wants an instant for a pause that has no end."""

_MILLIS = re.compile(rb"\d{1,18}")

_log = logging.getLogger("jtask")


class Pauses:
    """Which queues are paused until when; pause and resume them.

    Args:
        connection: To the server.
        subjects: Of the namespace.
        stream: Name of the stream of records; must be there, as must that of the runs.
        consumers: Of the namespace.
    """

    def __init__(
        self, connection: Connection, subjects: Subjects, stream: str, consumers: Consumers
    ) -> None:
        self._connection = connection
        self._subjects = subjects
        self._stream = stream
        self._consumers = consumers

    async def until(self, queue: str) -> float | None:
        """Return the instant until which a queue is paused; None when it is not."""
        # Who has just paused it, or ended that, must not be told how it was before: the consumers
        # would stay like that.
        subject = self._subjects.pause(queue)
        try:
            stored = await latest_message(self._connection, self._stream, subject)
        except PermissionDenied:
            _log.debug(
                "no permission to read the records: assuming that queue %s is not paused", queue
            )
            return None
        return None if stored is None else _if_future(_read_record(stored.body))

    async def all(self) -> dict[str, Pause]:
        """Return the pauses by queue."""
        pauses: dict[str, Pause] = {}
        subject = self._subjects.all_pauses
        async for stored in read_all(self._connection, self._stream, subject, to_the_last=True):
            until = _if_future(_read_record(stored.body))
            if until is not None and is_name(queue := last_token(stored.subject)):
                pauses[queue] = Pause(None if until >= _ENDLESS else until)
        return pauses

    async def pause(self, publisher: Publisher, queue: str, until: float | None) -> None:
        """Deliver nothing of a queue until an instant; None is until `resume`."""
        subject, unique = self._subjects.pause(queue), secrets.token_hex(12)
        await publisher.publish(subject, _record(until), headers.message_id(unique))
        await self._apply_to_all(queue)

    async def resume(self, queue: str) -> bool:
        """End a pause; False when there was none."""
        paused = await self.until(queue)
        ended = await purge(self._connection, self._stream, self._subjects.pause(queue))
        # Also what a process left behind that died between the record and the consumers.
        left = await self._apply_to_all(queue)
        return left or (paused is not None and ended)

    async def apply(self, queue: str, path: str, found: float | None) -> bool:
        """Make a consumer keep the pause of its queue, whatever it is in the end.

        Args:
            queue: Which.
            path: Of the consumer.
            found: Until when the consumer is paused now.

        Returns:
            bool: Whether it had to be changed.
        """
        changed = False
        while (wanted := await self.until(queue)) != found:
            # An empty request ends a pause.
            request = {} if wanted is None else {"pause_until": headers.instant(wanted)}
            try:
                await call_known_stream(self._connection, f"CONSUMER.PAUSE.{path}", request)
            except ApiError as error:
                if error.err_code != CONSUMER_NOT_FOUND:
                    raise
                return changed
            found, changed = wanted, True
        return changed

    async def _apply_to_all(self, queue: str) -> bool:
        found = await self._consumers.priorities([queue])
        return any(await asyncio.gather(*(self._apply_to(*one) for one in found)))

    async def _apply_to(self, queue: str, priority: int) -> bool:
        info = await self._consumers.find(queue, priority)
        if info is None:
            return False
        return await self.apply(queue, self._consumers.path(queue, priority), paused_until(info))


def paused_until(info: dict[str, Any]) -> float | None:
    """Return until when a consumer is paused, by the server's info about it."""
    if not info.get("paused"):
        return None
    text: str = info["config"]["pause_until"]
    # Rounded like the record, or the two would never be equal.
    return round(datetime.fromisoformat(text).timestamp() * 1000) / 1000


def _record(until: float | None) -> bytes:
    """Return the record of a pause: whole milliseconds since the epoch."""
    return b"%d" % headers.millis(_ENDLESS if until is None else min(until, _ENDLESS))


def _read_record(body: bytes) -> float:
    # What is no instant has passed: it pauses nothing.
    return min(int(body) / 1000, _ENDLESS) if _MILLIS.fullmatch(body) else 0.0


def _if_future(until: float) -> float | None:
    return until if until > time.time() else None
