"""Messages that nobody waits for, and that a cluster must not lose while it chooses a leader."""

import asyncio
import contextlib
import logging
import secrets
from functools import partial

from jtask.errors import BrokerError, BrokerUnavailable
from jtask_nats.client import headers
from jtask_nats.client.connection import Connection
from jtask_nats.client.publisher import Publisher

_MOST = 16 << 20  # bytes that are kept to be sent again
# Seconds that the end of a process may wait: for an election, which takes up to 9 s, and the copy
# after that; and for a connection that was just lost, which the other servers need no longer for.
_LAST_SECONDS = 12.0
_AWAY_SECONDS = 3.0

_log = logging.getLogger("jtask")


class InsistingSender:
    """Send without being waited for; on a cluster again until the stream has the message.

    What is sent to a stream without a leader is lost without a word, and an election takes seconds.
    A server that is alone loses nothing but what was on its way when it died.

    Args:
        connection: To the server.
        publisher: On that connection.
    """

    def __init__(self, connection: Connection, publisher: Publisher) -> None:
        self._connection = connection
        self._publisher = publisher
        self._size = 0
        """Of what is sent and not stored yet."""
        self._all_stored = asyncio.Event()

    def send(self, subject: str, body: bytes) -> None:
        """Send a message; what is sent later may be stored earlier.

        Args:
            subject: One that a stream captures.
            body: The message.

        Raises:
            BrokerError: It is larger than the server takes; nothing was sent.
        """
        if not self._connection.is_cluster or self._size + len(body) > _MOST:
            self._connection.send(subject, body)
            return
        self._connection.check(subject, b"", body)
        self._size += len(body)
        self._all_stored.clear()
        self._publish(subject, body, headers.message_id(secrets.token_hex(12)))

    async def drain(self) -> None:
        """Wait until all is stored, for a bounded time: what is sent again needs this process."""
        if not self._size:
            return
        with contextlib.suppress(TimeoutError, BrokerUnavailable):
            await asyncio.wait_for(self._connection.until_up(), _AWAY_SECONDS)
            await asyncio.wait_for(self._all_stored.wait(), _LAST_SECONDS)

    def _publish(self, subject: str, body: bytes, lines: bytes) -> None:
        resolve = partial(self._on_outcome, subject, body, lines)
        self._publisher.publish_then(subject, body, lines, resolve)

    def _on_outcome(
        self, subject: str, body: bytes, lines: bytes, outcome: bytes | BrokerError
    ) -> None:
        if isinstance(outcome, BrokerUnavailable) and not self._publisher.is_closed:
            self._publish(subject, body, lines)
            return
        self._size -= len(body)
        if not self._size:
            self._all_stored.set()
        if isinstance(outcome, BrokerError):
            _log.debug("a message for %s is lost: %s", subject, outcome)
