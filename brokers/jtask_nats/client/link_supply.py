"""How many connections there are beside the main one, and when one more is opened."""

import logging
import os
import threading
import time
from typing import TypeVar

from jtask.errors import JTaskError
from jtask_nats.client.connection import Connection
from jtask_nats.client.link import Link
from jtask_nats.client.protocol import ProtocolError

CLOSE_TOGETHER = 1.0  # seconds between two messages, else a connection is not worth its price
_PAUSE = 10.0  # seconds after one could not be opened
_IDLE = 30.0  # seconds without use
_log = logging.getLogger("jtask")

AnyLink = TypeVar("AnyLink", bound=Link)


class LinkSupply:
    """Open connections beside the main one, as many as are allowed; from any thread.

    Attributes:
        connection: The main one; they go to its server.
        is_closed: It is over; there are no more.
        idle: After how many seconds without use one is to be closed.

    Args:
        connection: See above.
        timeout: Seconds that an answer is waited for on one.
        limit: How many there may be at once; 0 is none.
    """

    def __init__(self, connection: Connection, *, timeout: float, limit: int) -> None:
        self.connection = connection
        self.is_closed = False
        self.idle = _IDLE
        self._timeout = timeout
        self._limit = limit
        self._pid = os.getpid()
        self._opening = threading.Lock()
        # A set, for each change of it is one step: threads and signal handlers come together here.
        self._open: set[Link] = set()
        self._not_before = 0.0
        connection.on_close(self._close)

    def is_own(self) -> bool:
        """Tell whether this process has opened what there is, not one that forked this one."""
        return self._limit > 0 and os.getpid() == self._pid

    def may_open(self) -> bool:
        """Tell whether it is worth trying to open one."""
        return (
            len(self._open) < self._limit
            and time.monotonic() >= self._not_before
            and self.connection.is_connected
            and not self.is_closed
        )

    def open(self, kind: type[AnyLink], replies: str) -> AnyLink | None:
        """Open one, blocking the thread; `closed` must be called at its end.

        Args:
            kind: What kind of one.
            replies: Where answers shall arrive.

        Returns:
            AnyLink | None: None where that cannot be now.
        """
        # Nobody waits for the handshake of another.
        if not self._opening.acquire(blocking=False):
            return None
        try:
            if not self.may_open():
                return None
            connection = self.connection
            link = kind.open(connection.url, connection.greeting, replies, self._timeout)
            self._open.add(link)
        except (OSError, ProtocolError, JTaskError) as error:
            self._not_before = time.monotonic() + _PAUSE
            _log.debug("no connection beside the main one: %s", error)
            return None
        finally:
            self._opening.release()
        return link

    def links(self, kind: type[AnyLink]) -> list[AnyLink]:
        """Return those of a kind that are open."""
        return [link for link in self._open.copy() if isinstance(link, kind)]

    def closed(self, link: Link) -> None:
        """Take note of the end of one."""
        self._open.discard(link)

    def _close(self) -> None:
        self.is_closed = True
