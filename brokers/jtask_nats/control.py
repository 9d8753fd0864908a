"""Questions to whoever listens now, over core NATS: nothing is stored."""

import asyncio
import contextlib
from collections.abc import Callable

from jtask.contract import Watch
from jtask.errors import BrokerUnavailable
from jtask_nats.connection import Connection, Subscription
from jtask_nats.link import Link
from jtask_nats.nats_errors import no_answer
from jtask_nats.protocol import status_of

_NO_RESPONDERS = 503


class NatsControl:
    """A `jtask.contract.Control`.

    Args:
        link: To the server.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    async def listen(self, topic: str, answer: Callable[[bytes], bytes | None]) -> Watch:
        """Hear what is asked under a topic."""
        connection = self._link.connection

        def receive(subject: str, reply: str, data: bytes, block: bytes | None) -> None:
            del subject, block
            said = answer(data)
            if said is not None and reply:
                connection.send(reply, said)

        subscription = connection.subscribe(self._link.subjects.asked(topic), receive)
        if connection.is_connected:
            # What is asked after this returns must be heard. A connection that is lost meanwhile
            # subscribes again before anything else: whoever listens need not begin anew.
            with contextlib.suppress(BrokerUnavailable):
                await connection.flush()
        return _Listening(subscription)

    async def ask(
        self, topic: str, question: bytes, *, timeout: float, answers: int | None = None
    ) -> list[bytes]:
        """Ask everybody who listens to a topic.

        Raises:
            BrokerUnavailable: The server cannot be reached within the timeout.
        """
        said: list[bytes] = []

        def take(answer: bytes) -> bool:
            said.append(answer)
            return len(said) == answers

        subject = self._link.subjects.asked(topic)
        await gather_answers(self._link.connection, subject, question, timeout, take)
        return said


class _Listening:
    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    async def close(self) -> None:
        """Want no more."""
        self._subscription.unsubscribe()


async def gather_answers(
    connection: Connection,
    subject: str,
    question: bytes,
    timeout: float,
    take: Callable[[bytes], bool],
) -> None:
    """Ask, and return when the time is up, when nobody listens or when there is enough.

    Args:
        connection: To the server.
        subject: Where they listen.
        question: What they hear.
        timeout: Seconds.
        take: Called with each answer; True when no more are needed.

    Raises:
        BrokerUnavailable: The server cannot be reached within the timeout.
    """
    enough = asyncio.Event()

    def receive(subject: str, reply: str, data: bytes, block: bytes | None) -> None:
        del subject, reply
        if status_of(block)[0] == _NO_RESPONDERS or (not enough.is_set() and take(data)):
            enough.set()

    inbox = connection.new_inbox()
    subscription = connection.subscribe(inbox, receive)
    try:
        async with asyncio.timeout(timeout):
            await connection.until_up()
            connection.send(subject, question, reply=inbox)
            await enough.wait()
    except TimeoutError:
        if not connection.is_connected:
            raise no_answer(subject, connection.url, timeout, "not connected") from None
    finally:
        subscription.unsubscribe()
