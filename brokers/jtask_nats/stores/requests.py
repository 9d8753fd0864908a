"""Requests to whoever listens now, over core NATS: nothing is stored."""

from collections.abc import Callable

from jtask import contract
from jtask_nats.client.request_many import request_many
from jtask_nats.client.subscription import Subscription, take_effect
from jtask_nats.streams.session import Session


class NatsRequests:
    """A `jtask.contract.RequestReply`.

    Args:
        session: To the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._responders: set[_Responder] = set()
        session.connection.on_reconnect(self._notify_gap)

    async def listen(
        self,
        topic: str,
        answer: Callable[[bytes], bytes | None],
        on_gap: Callable[[], None] | None = None,
    ) -> contract.Subscription:
        """Answer the requests under a topic."""
        connection = self._session.connection

        def receive(subject: str, reply: str, data: bytes, block: bytes | None) -> None:
            del subject, block
            body = answer(data)
            if body is not None and reply:
                connection.send(reply, body)

        subscription = connection.subscribe(self._session.subjects.request(topic), receive)
        # A request sent after this returns must arrive.
        await take_effect(connection, subscription.unsubscribe)
        return _Responder(subscription, on_gap, self._responders)

    async def ask(
        self, topic: str, question: bytes, *, timeout: float, answers: int | None = None
    ) -> list[bytes]:
        """Ask everybody who listens to a topic, until the time is up or enough have answered.

        Raises:
            BrokerUnavailable: The server cannot be reached within the timeout.
        """
        replies: list[bytes] = []

        def take(answer: bytes) -> bool:
            replies.append(answer)
            return len(replies) == answers

        subject = self._session.subjects.request(topic)
        await request_many(self._session.connection, subject, question, timeout, take)
        return replies

    def _notify_gap(self) -> None:
        # A copy: a callback may close its subscription.
        for responder in tuple(self._responders):
            if responder.on_gap is not None:
                responder.on_gap()


class _Responder:
    def __init__(
        self,
        subscription: Subscription,
        on_gap: Callable[[], None] | None,
        responders: "set[_Responder]",
    ) -> None:
        self._subscription = subscription
        self._responders = responders
        self.on_gap = on_gap
        responders.add(self)

    async def close(self) -> None:
        """Answer no more."""
        self._responders.discard(self)
        self._subscription.unsubscribe()
