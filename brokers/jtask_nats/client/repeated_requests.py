"""Requests that are sent again while nobody answers.

The server drops a request that falls into an election without a word. Who waits for its answer
would wait for the whole timeout, although a new leader is there after some seconds.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from jtask.background import end_all
from jtask.errors import BrokerUnavailable
from jtask_nats.client.nats_errors import ConnectionClosed
from jtask_nats.client.protocol import Reply

# Seconds: until the second copy, and between the others. More than a healthy server needs, less
# than an election takes.
_AGAIN_AFTER = (0.5, 1.0)
_PAUSE = 0.05  # seconds after a lost connection, or before the last copy gives up


class Requester(Protocol):
    """What is needed of a connection."""

    @property
    def url(self) -> str:
        """The server, for messages."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether a request can be sent right now."""
        ...

    async def request(self, subject: str, payload: bytes = b"", *, timeout: float = 5.0) -> Reply:
        """Send a request and return the first reply; waits for the connection."""
        ...


async def request_repeatedly(
    requester: Requester,
    subject: str,
    payload: bytes,
    timeout: float,
    on_repeat: Callable[[], None] | None = None,
) -> Reply:
    """Send a request until one of its copies is answered; it must be idempotent.

    A connection that is lost meanwhile is no end either.

    Args:
        requester: The connection.
        subject: Where the responders listen.
        payload: The request.
        timeout: Seconds for all copies.
        on_repeat: Called before each copy but the first: one before may have been carried out, and
            the answer be that of a later one, which found nothing to do.

    Raises:
        BrokerUnavailable: No answer in time, or the connection was closed for good.
        PermissionDenied: We may not publish to this subject.
        BrokerError: It is larger than the server takes; nothing was sent.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout
    copies: list[asyncio.Task[Reply]] = []
    is_first = True
    pause, later = _AGAIN_AFTER
    try:
        while True:
            # One is enough to wait for the connection.
            if not copies or requester.is_connected:
                left = max(deadline - clock(), _PAUSE)
                if on_repeat is not None and not is_first:
                    on_repeat()
                is_first = False
                request = requester.request(subject, payload, timeout=left)
                copies.append(asyncio.ensure_future(request))
            done, _ = await asyncio.wait(copies, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            # Oldest first: it names the whole timeout when it fails.
            for copy in [one for one in copies if one in done]:
                copies.remove(copy)
                try:
                    return copy.result()
                except ConnectionClosed:
                    raise
                except BrokerUnavailable:
                    if clock() >= deadline:
                        raise
                    await asyncio.sleep(_PAUSE)
            pause = later
    finally:
        await end_all(copies)
