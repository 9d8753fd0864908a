"""A few connections for threads that publish one message after the other."""

import asyncio
import logging
import os
import threading
import time

from jtask.errors import JTaskError
from jtask_nats.client.blocking_link import BlockingLink
from jtask_nats.client.connection import Connection
from jtask_nats.client.protocol import ProtocolError

_CLOSE_TOGETHER = 1.0  # seconds between two messages, else a connection is not worth its price
_PAUSE = 10.0  # seconds after one could not be opened
_IDLE = 30.0  # seconds without use, after which one is closed
_log = logging.getLogger("jtask")


class BlockingLinks:
    """Lend connections to threads; opened when they are worth it, closed when nobody uses them.

    A thread that gets none publishes through the I/O loop, which many threads share well.

    Args:
        connection: To the server that they go to.
        timeout: Seconds that a thread waits for an answer before it tries otherwise.
        limit: How many there may be at once; 0 is none.
    """

    def __init__(self, connection: Connection, *, timeout: float, limit: int) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._limit = limit
        self._pid = os.getpid()
        self._free: list[BlockingLink] = []
        self._open: set[BlockingLink] = set()
        self._lock = threading.Lock()
        self._last = -_CLOSE_TOGETHER
        self._not_before = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        connection.on_close(self._close)

    def publish(self, subject: str, headers: bytes, body: bytes) -> bytes | None:
        """Publish a message and wait for the stream's answer; from any thread.

        Args:
            subject: One that a stream captures.
            headers: Header lines; a Nats-Msg-Id among them, since what got no answer here is
                published again otherwise.
            body: The message.

        Returns:
            bytes | None: See `read_ack`; None when nothing is known: publish it otherwise.
        """
        link = self._take()
        if link is None:
            return None
        try:
            answer = link.publish(subject, headers, body)
        except (OSError, ProtocolError) as error:
            _log.debug("a message to %s goes another way: %s", subject, error)
            self._drop(link)
            return None
        except BaseException:
            # The thread was interrupted: the next message would take the answer to this one.
            self._drop(link)
            raise
        self._give_back(link)
        return answer

    def _take(self) -> BlockingLink | None:
        now, last = time.monotonic(), self._last
        self._last = now
        if self._limit == 0 or os.getpid() != self._pid:
            return None
        try:
            # The one that was used last: the others may grow idle.
            link = self._free.pop()
        except IndexError:
            if now > last + _CLOSE_TOGETHER or now < self._not_before:
                return None
            return self._open_one(now)
        link.used = now
        return link

    def _give_back(self, link: BlockingLink) -> None:
        self._free.append(link)
        if self._is_closed:
            self._drop_all()

    def _open_one(self, now: float) -> BlockingLink | None:
        # Nobody waits for the handshake of another.
        if len(self._open) >= self._limit or not self._lock.acquire(blocking=False):
            return None
        try:
            if self._is_closed or not self._connection.is_connected:
                return None
            link = self._connect()
        except (OSError, ProtocolError, JTaskError) as error:
            self._not_before = now + _PAUSE
            _log.debug("no connection for a thread: %s", error)
            return None
        finally:
            self._lock.release()
        self._open.add(link)
        self._connection.call_from_thread(self._watch)
        return link

    def _connect(self) -> BlockingLink:
        connection = self._connection
        inbox = connection.new_inbox()
        return BlockingLink.open(connection.url, connection.greeting, inbox, self._timeout)

    def _drop(self, link: BlockingLink) -> None:
        self._open.discard(link)
        link.close()

    def _watch(self) -> None:
        if self._timer is None and not self._is_closed:
            self._timer = self._loop.call_later(_IDLE, self._close_idle)

    def _close_idle(self) -> None:
        self._timer = None
        before = time.monotonic() - _IDLE
        # Threads take from the end of the list meanwhile.
        while self._free and self._free[0].used < before:
            try:
                self._drop(self._free.pop(0))
            except IndexError:
                break
        if self._open:
            self._watch()

    def _close(self) -> None:
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._drop_all()

    def _drop_all(self) -> None:
        for link in self._open.copy():
            self._drop(link)
