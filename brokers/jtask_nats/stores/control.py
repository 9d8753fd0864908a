"""Questions to whoever listens now, over core NATS: nothing is stored."""

import contextlib
from collections.abc import Callable

from jtask.contract import Watch
from jtask.errors import BrokerUnavailable
from jtask_nats.client.connection import Subscription
from jtask_nats.client.request_many import gather_answers
from jtask_nats.streams.session import Link


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
