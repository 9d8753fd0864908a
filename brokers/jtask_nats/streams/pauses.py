"""Pauses of queues: kept in the broker, and laid on each consumer, which is what holds runs back.

A consumer that is made later is born paused. Whoever lays a pause on a consumer looks at what is
kept once more afterwards, so that of two who change it at the same moment the last one counts.
"""

import logging
import time
from datetime import datetime
from typing import Any

from jtask.contract import FOREVER
from jtask.errors import PermissionDenied
from jtask_nats.client import headers
from jtask_nats.client.connection import Connection
from jtask_nats.client.direct_reads import last_message, read_all
from jtask_nats.client.nats_errors import CONSUMER_NOT_FOUND, ApiError
from jtask_nats.streams.subjects import Subjects, last_token

_log = logging.getLogger("jtask")


class Pauses:
    """Which queues are paused until when.

    Args:
        connection: To the server.
        subjects: Of the namespace.
        stream: Name of the stream of records; must be there.
    """

    def __init__(self, connection: Connection, subjects: Subjects, stream: str) -> None:
        self._connection = connection
        self._subjects = subjects
        self._stream = stream

    async def until(self, queue: str) -> float | None:
        """Return the instant until which a queue is paused; None when it is not."""
        try:
            stored = await last_message(self._connection, self._stream, self._subjects.pause(queue))
        except PermissionDenied:
            _log.debug("may not read the records: the queue %s is taken to be not paused", queue)
            return None
        return None if stored is None else still_to_come(read_pause(stored.body))

    async def all(self) -> dict[str, float]:
        """Return the instants until which queues are paused."""
        pauses: dict[str, float] = {}
        async for stored in read_all(self._connection, self._stream, self._subjects.all_pauses):
            until = still_to_come(read_pause(stored.body))
            if until is not None:
                pauses[last_token(stored.subject)] = until
        return pauses

    async def lay_on(self, queue: str, consumer: str, found: float | None) -> bool:
        """Make a consumer keep the pause of its queue, whatever it is in the end.

        Args:
            queue: Which.
            consumer: `<stream>.<name>`.
            found: Until when the consumer is paused now.

        Returns:
            bool: Whether it had to be changed.
        """
        changed = False
        while (wanted := await self.until(queue)) != found:
            order = {} if wanted is None else {"pause_until": headers.instant(wanted)}
            try:
                await self._connection.api(f"CONSUMER.PAUSE.{consumer}", order)
            except ApiError as error:
                if error.err_code != CONSUMER_NOT_FOUND:
                    raise
                return changed
            found, changed = wanted, True
        return changed


def pause_body(until: float | None) -> bytes:
    """Return what is kept of a pause: whole milliseconds since the epoch."""
    return b"%d" % headers.millis(FOREVER if until is None else min(until, FOREVER))


def read_pause(body: bytes) -> float:
    """Return the instant in what is kept of a pause."""
    return int(body) / 1000


def still_to_come(until: float) -> float | None:
    """Return an instant, or None when it has passed."""
    return until if until > time.time() else None


def pause_of(info: dict[str, Any]) -> float | None:
    """Return until when a consumer is paused, by what the server says of it."""
    if not info.get("paused"):
        return None
    text: str = info["config"]["pause_until"]
    return round(datetime.fromisoformat(text).timestamp() * 1000) / 1000
