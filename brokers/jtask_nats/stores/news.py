"""The news that more is stored: pushed, and told once in a while in case that a push was lost.

Whoever has heard that there is more reads it; what is pushed meanwhile is sent twice. Where that is
much, a subscription rests after each piece of news, and what came in the meantime is told together.
"""

import asyncio
from collections.abc import Callable

from jtask.randomness import RANDOM
from jtask_nats.client.connection import Connection
from jtask_nats.client.subscription import Subscription, take_effect

# Seconds between two looks at what may have grown: what a lost push costs at most.
_LOOKS = (2.0, 30.0)
_SPREAD = (0.75, 1.5)  # so that those who began to watch together do not ask together


class News:
    """Tell those who watch that there may be more to read.

    Args:
        connection: To the server.
        rest: Seconds after news in which nothing is pushed, and then until all of it is stored; 0
            pushes everything at once.
    """

    def __init__(self, connection: Connection, *, rest: float = 0.0) -> None:
        self._connection = connection
        self._rest = rest
        self._subscriptions: set[NewsSubscription] = set()
        connection.on_reconnect(self._notify_all)

    async def watch(self, subject: str, on_news: Callable[[], None]) -> "NewsSubscription":
        """Push the news of a subject.

        Args:
            subject: On which something is published whenever there is more.
            on_news: Called on the loop.
        """
        subscription = NewsSubscription(
            self._connection, subject, on_news, self._subscriptions, self._rest
        )
        # What is stored from now on must not be missed.
        await take_effect(self._connection, subscription.end)
        return subscription

    def close(self) -> None:
        """Look for nothing any more: a timer would hold the broker for as long as it runs."""
        for subscription in tuple(self._subscriptions):
            subscription.end()

    def _notify_all(self) -> None:
        # A copy: a callback may close its subscription.
        for subscription in tuple(self._subscriptions):
            subscription.on_news()


class NewsSubscription:
    """Stands until it is closed.

    Args:
        connection: To the server.
        subject: Where the news is pushed.
        on_news: Called on the loop.
        subscriptions: Those that stand; this one is among them until it is closed.
        rest: See `News`.
    """

    def __init__(
        self,
        connection: Connection,
        subject: str,
        on_news: Callable[[], None],
        subscriptions: "set[NewsSubscription]",
        rest: float,
    ) -> None:
        self._connection = connection
        self._subject = subject
        self._subscriptions = subscriptions
        self._pause, self._longest = _LOOKS
        self.on_news = on_news
        subscriptions.add(self)
        self._heard: Subscription | None = None
        self._rest = rest
        self._resting: asyncio.TimerHandle | None = None
        self._listen()
        self._look_again()

    async def close(self) -> None:
        """Push nothing any more."""
        self.end()

    def end(self) -> None:
        """Do `close`, which has nothing to await."""
        self._timer.cancel()
        self._subscriptions.discard(self)
        if self._resting is not None:
            self._resting.cancel()
        self._hear_nothing()

    def _listen(self) -> None:
        self._heard = self._connection.subscribe(self._subject, self._receive)
        if self._rest:
            self._heard.take_one()

    def _hear_nothing(self) -> None:
        heard, self._heard = self._heard, None
        if heard is not None:
            heard.unsubscribe()

    def _receive(self, subject: str, reply: str, data: bytes, block: bytes | None) -> None:
        del subject, reply, data, block
        # What was on its way already is not told again.
        if self._heard is None:
            return
        if self._rest:
            self._hear_nothing()
            self._later(self._end_rest)
        self.on_news()

    def _end_rest(self) -> None:
        self._listen()
        # Not yet: what was published just before may be stored a moment later.
        self._later(self.on_news)

    def _later(self, call: Callable[[], None]) -> None:
        if self._resting is not None:
            self._resting.cancel()
        self._resting = asyncio.get_running_loop().call_later(self._rest, call)

    def _look_again(self) -> None:
        delay = self._pause * RANDOM.uniform(*_SPREAD)
        self._timer = asyncio.get_running_loop().call_later(delay, self._due)

    def _due(self) -> None:
        self._pause = min(2 * self._pause, self._longest)
        self._look_again()
        self.on_news()
