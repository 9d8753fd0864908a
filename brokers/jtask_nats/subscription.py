"""A standing wish for the messages of a subject."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jtask_nats.connection import Connection


class Subscription:
    """A standing subscription, renewed by itself after a reconnect."""

    __slots__ = ("_connection", "_sid", "subject")

    def __init__(self, connection: "Connection", sid: bytes, subject: str) -> None:
        self._connection = connection
        self._sid = sid
        self.subject = subject

    def unsubscribe(self) -> None:
        """Want no more messages; none is delivered after this."""
        self._connection.unsubscribe(self._sid)

    async def drain(self) -> None:
        """Want no more messages; those on the way are still delivered before this returns."""
        if self._connection.is_connected:
            self._connection.write(b"UNSUB %b\r\n" % self._sid)
            await self._connection.flush()
        self.unsubscribe()
