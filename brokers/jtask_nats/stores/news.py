"""The news that more is stored: pushed, and told once in a while in case that a push was lost."""

import asyncio
from collections.abc import Callable

from jtask.randomness import RANDOM
from jtask_nats.client.connection import Connection, Subscription

# Seconds between two looks at what may have grown: what a lost push costs at most.
_LOOKS = (2.0, 30.0)
_SPREAD = (0.75, 1.5)  # so that those who began to watch together do not ask together


class News:
    """Tell those who watch that there may be more to read.

    Args:
        connection: To the server.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._subscriptions: set[NewsSubscription] = set()
        connection.on_reconnect(self._notify_all)

    async def watch(self, subject: str, on_news: Callable[[], None]) -> "NewsSubscription":
        """Push the news of a subject.

        Args:
            subject: On which something is published whenever there is more.
            on_news: Called on the loop.
        """

        def receive(subject: str, reply: str, data: bytes, block: bytes | None) -> None:
            del subject, reply, data, block
            on_news()

        heard = self._connection.subscribe(subject, receive)
        subscription = NewsSubscription(heard, on_news, self._subscriptions)
        if self._connection.is_connected:
            # Only then is it in place: what is stored from now on must not be missed.
            await self._connection.flush()
        return subscription

    def _notify_all(self) -> None:
        # A copy: a callback may close its subscription.
        for subscription in tuple(self._subscriptions):
            subscription.on_news()


class NewsSubscription:
    """Stands until it is closed.

    Args:
        subscription: To where the news is pushed.
        on_news: Called on the loop.
        subscriptions: Those that stand; this one is among them until it is closed.
    """

    def __init__(
        self,
        subscription: Subscription,
        on_news: Callable[[], None],
        subscriptions: "set[NewsSubscription]",
    ) -> None:
        self._subscription = subscription
        self._subscriptions = subscriptions
        self._pause, self._longest = _LOOKS
        self.on_news = on_news
        subscriptions.add(self)
        self._look_again()

    async def close(self) -> None:
        """Push nothing any more."""
        self._timer.cancel()
        self._subscriptions.discard(self)
        self._subscription.unsubscribe()

    def _look_again(self) -> None:
        delay = self._pause * RANDOM.uniform(*_SPREAD)
        self._timer = asyncio.get_running_loop().call_later(delay, self._due)

    def _due(self) -> None:
        self._pause = min(2 * self._pause, self._longest)
        self._look_again()
        self.on_news()
