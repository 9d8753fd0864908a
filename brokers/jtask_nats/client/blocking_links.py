"""Connections for threads that publish one message after the other."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from jtask_nats.client.blocking_link import BlockingLink
from jtask_nats.client.link import LinkLost
from jtask_nats.client.link_supply import CLOSE_TOGETHER, LinkSupply
from jtask_nats.client.protocol import ProtocolError

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger("jtask")


class BlockingLinks:
    """Lend connections to threads; opened when they are worth it, closed when nobody uses them.

    A thread that gets none publishes through the I/O loop, which many threads share well.

    Args:
        supply: Opens them.
    """

    def __init__(self, supply: LinkSupply) -> None:
        self._supply = supply
        self._loop = asyncio.get_running_loop()
        self._free: list[BlockingLink] = []
        self._last = -CLOSE_TOGETHER
        self._timer: asyncio.TimerHandle | None = None
        supply.connection.on_close(self._close)

    def publish(
        self, subject: str, headers: bytes, body: bytes, followed_at: str = ""
    ) -> bytes | None:
        """Publish a message and wait for the stream's answer; from any thread.

        Args:
            subject: One that a stream captures.
            headers: Header lines; a Nats-Msg-Id among them, since what got no answer here is
                published again otherwise.
            body: The message.
            followed_at: See `BlockingLink.publish`.

        Returns:
            bytes | None: See `read_ack`; None when nothing is known: publish it otherwise.
        """
        link = self._take()
        return self._use(link, BlockingLink.publish, subject, headers, body, followed_at)

    def await_message(
        self, subject: str, question: Callable[[], tuple[str, bytes]], seconds: float
    ) -> bytes | None:
        """Wait for a message for a moment; from any thread.

        Args:
            subject: See `BlockingLink.await_message`; likewise the next two.
            question: What is asked in case that it came before.
            seconds: How long.

        Returns:
            bytes | None: The message; None when nothing is known: wait for it otherwise.
        """
        link = self._take_listener(subject) or self._take()
        return self._use(link, BlockingLink.await_message, subject, question, seconds)

    def _use(
        self,
        link: BlockingLink | None,
        do: Callable[Concatenate[BlockingLink, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T | None:
        if link is None:
            return None
        try:
            answer = do(link, *args, **kwargs)
        except (OSError, ProtocolError) as error:
            _log.debug("what was begun on a thread's own connection goes another way: %s", error)
            self._drop(link)
            if not _is_of_link(error):
                raise
            return None
        except BaseException:
            # The thread was interrupted: the next message would take the answer to this one.
            self._drop(link)
            raise
        self._free.append(link)
        if self._supply.is_closed:
            self._drop_all()
        return answer

    def _take(self) -> BlockingLink | None:
        if not self._supply.is_own():
            return None
        now, last = time.monotonic(), self._last
        self._last = now
        try:
            # The one that was used last: the others may grow idle.
            link = self._free.pop()
        except IndexError:
            is_worth_it = now < last + CLOSE_TOGETHER and self._supply.may_open()
            return self._open_one() if is_worth_it else None
        link.used = now
        return link

    def _take_listener(self, subject: str) -> BlockingLink | None:
        """Take the link that listens to a subject already."""
        if not self._supply.is_own():
            return None
        for link in reversed(self._free):
            if link.listens_to == subject:
                try:
                    self._free.remove(link)
                except ValueError:  # another thread has it now
                    return None
                self._last = link.used = time.monotonic()
                return link
        return None

    def _open_one(self) -> BlockingLink | None:
        connection = self._supply.connection
        link = self._supply.open(BlockingLink, connection.new_inbox() + ".*")
        if link is not None:
            connection.call_from_thread(self._watch)
        return link

    def _drop(self, link: BlockingLink) -> None:
        self._supply.closed(link)
        link.close()

    def _watch(self) -> None:
        if self._timer is None and not self._supply.is_closed:
            self._timer = self._loop.call_later(self._supply.idle, self._close_idle)

    def _close_idle(self) -> None:
        self._timer = None
        before = time.monotonic() - self._supply.idle
        # Threads take from the end of the list meanwhile.
        while self._free and self._free[0].used < before:
            try:
                self._drop(self._free.pop(0))
            except IndexError:
                break
        if self._supply.links(BlockingLink):
            self._watch()

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._drop_all()

    def _drop_all(self) -> None:
        for link in self._supply.links(BlockingLink):
            self._drop(link)


def _is_of_link(error: OSError | ProtocolError) -> bool:
    """Tell whether an error is the connection's: a signal handler may raise TimeoutError, say."""
    return not isinstance(error, OSError) or isinstance(error, LinkLost) or error.errno is not None
