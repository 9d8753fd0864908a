"""A standing subscription to the messages of a subject."""

import contextlib
from collections.abc import Callable
from typing import Protocol

from jtask.errors import BrokerUnavailable


class Subscriber(Protocol):
    """What a subscription needs of the connection that made it."""

    @property
    def is_connected(self) -> bool:
        """Whether the server can be reached right now, as far as is known."""
        ...

    def write(self, command: bytes) -> None:
        """Write a whole command; dropped when disconnected."""
        ...

    async def flush(self) -> None:
        """Wait until the server has processed everything sent before."""
        ...

    def unsubscribe(self, sid: bytes) -> None:
        """End a subscription, by its number."""
        ...


class Subscription:
    """A standing subscription, renewed by itself after a reconnect.

    Args:
        subscriber: The connection that made it.
        sid: Its number on the wire.
        subject: What it listens on.
    """

    __slots__ = ("_sid", "_subscriber", "subject")

    def __init__(self, subscriber: Subscriber, sid: bytes, subject: str) -> None:
        self._subscriber = subscriber
        self._sid = sid
        self.subject = subject

    def unsubscribe(self) -> None:
        """End it; no message is delivered after this."""
        self._subscriber.unsubscribe(self._sid)

    def take_one(self) -> None:
        """Have the server send one message; after a reconnect it sends more until `unsubscribe`."""
        self._subscriber.write(b"UNSUB %b 1\r\n" % self._sid)

    async def drain(self) -> None:
        """End it; messages on the way are still delivered before this returns."""
        if self._subscriber.is_connected:
            self._subscriber.write(b"UNSUB %b\r\n" % self._sid)
            # The server answers in order: what it sent before it saw the UNSUB comes before the
            # PONG.
            await self._subscriber.flush()
        self.unsubscribe()


async def take_effect(subscriber: Subscriber, give_up: Callable[[], object]) -> None:
    """Return once the server has the subscriptions of a connection, or that is lost.

    In the latter case nobody need try again: they are renewed before anything else.

    Args:
        subscriber: The connection.
        give_up: Called where this does not return: nobody else would end the subscription.
    """
    try:
        if subscriber.is_connected:
            with contextlib.suppress(BrokerUnavailable):
                await subscriber.flush()
    except BaseException:
        give_up()
        raise
