"""Connections for event loops whose coroutines publish again and again."""

import asyncio
import threading
import time
from collections.abc import Callable

from jtask_nats.client.link_supply import CLOSE_TOGETHER, LinkSupply
from jtask_nats.client.loop_link import LoopLink

# More are served better by one subscription for all.
_AWAITED_AT_ONCE = 4


class LoopLinks:
    """Give each event loop a connection of its own; opened when it is worth it.

    Args:
        supply: Opens them.
    """

    def __init__(self, supply: LinkSupply) -> None:
        self._supply = supply
        # A loop belongs to its thread.
        self._here = threading.local()
        supply.connection.on_close(self._close)

    def publish(
        self, subject: str, headers: bytes, body: bytes, followed_at: str = ""
    ) -> "asyncio.Future[bytes | None] | None":
        """Publish a message; on any loop but the I/O thread's.

        Args:
            subject: One that a stream captures.
            headers: Header lines; a Nats-Msg-Id among them, since what got no answer here is
                published again otherwise.
            body: The message.
            followed_at: See `BlockingLink.publish`.

        Returns:
            asyncio.Future[bytes | None] | None: See `LoopLink.publish`; None when there is no
            connection for this loop.
        """
        if not self._supply.is_own():
            return None
        here = self._here
        loop = asyncio.get_running_loop()
        if (link := self._link()) is not None:
            return link.publish(subject, headers, body, followed_at)
        now, last = time.monotonic(), getattr(here, "last", -CLOSE_TOGETHER)
        here.last = now
        if now < last + CLOSE_TOGETHER and getattr(here, "opening_for", None) is not loop:
            self._drop_dead()
            if self._supply.may_open():
                here.opening_for = loop
                threading.Thread(
                    target=self._open_one, args=(loop,), name="jtask-link", daemon=True
                ).start()
        return None

    def await_message(
        self, subject: str, question: Callable[[], tuple[str, bytes]], seconds: float
    ) -> "asyncio.Future[bytes | None] | None":
        """Wait for a message for a moment; on any loop but the I/O thread's.

        Args:
            subject: See `LoopLink.await_message`; likewise the next two.
            question: What is asked in case that it came before.
            seconds: How long.

        Returns:
            asyncio.Future[bytes | None] | None: None when there is no connection for this loop, or
            enough is waited for on it.
        """
        if not self._supply.is_own():
            return None
        link = self._link()
        if link is None or link.awaited >= _AWAITED_AT_ONCE:
            return None
        return link.await_message(subject, question, seconds)

    def _link(self) -> LoopLink | None:
        link: LoopLink | None = getattr(self._here, "link", None)
        usable = link is not None and link.is_open and link.loop is asyncio.get_running_loop()
        return link if usable else None

    def _open_one(self, loop: asyncio.AbstractEventLoop) -> None:
        link = self._supply.open(LoopLink, self._supply.connection.new_inbox() + ".*")
        if link is not None:
            link.belong_to(loop, self._supply.closed, self._supply.idle)
        try:
            loop.call_soon_threadsafe(self._adopt, link)
        except RuntimeError:
            if link is not None:
                link.close()

    def _adopt(self, link: LoopLink | None) -> None:
        self._here.opening_for = None
        if link is None:
            return
        if self._supply.is_closed:
            link.close()
        if link.is_open:
            link.attach()
            self._here.link = link

    def _drop_dead(self) -> None:
        for link in self._supply.links(LoopLink):
            if link.loop is not None and link.loop.is_closed():
                link.close()

    def _close(self) -> None:
        for link in self._supply.links(LoopLink):
            link.close_soon()
