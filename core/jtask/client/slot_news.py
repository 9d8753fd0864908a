"""What wakes those who wait in place for a slot: news that one was freed."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary

from jtask.client.client import Client
from jtask.contract import RequestReply
from jtask.errors import BrokerError

_TOPIC = "limits"


class SlotNews:
    """Hear which slots are freed, while somebody waits; on the I/O loop.

    Args:
        requests: Of the broker, where the news are told.
    """

    # Not the client: it would be kept alive by what is kept for as long as it lives.
    def __init__(self, requests: RequestReply) -> None:
        self._requests = requests
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._is_listening = False

    async def listen(self) -> None:
        """Begin to hear; what is freed after this is heard.

        Raises:
            BrokerError: The broker does not answer.
        """
        if not self._is_listening:
            self._is_listening = True
            try:
                await self._requests.listen(_TOPIC, self._on_news)
            except BaseException:
                self._is_listening = False
                raise

    def add(self, name: str, event: asyncio.Event) -> None:
        """Have an event set when a slot of a name is freed."""
        self._waiting.setdefault(name, set()).add(event)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait for an event, or until a time is over."""
        # Not by wait_for: in Python 3.11 it swallows a cancellation beside the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
        event.clear()

    def forget(self, event: asyncio.Event) -> None:
        """Set an event no more."""
        for events in self._waiting.values():
            events.discard(event)
        self._waiting = {name: events for name, events in self._waiting.items() if events}

    def _on_news(self, question: bytes) -> None:
        for event in self._waiting.get(question.decode(errors="replace"), ()):
            event.set()


_news: WeakKeyDictionary[Client, SlotNews] = WeakKeyDictionary()


def slot_news_of(client: Client) -> SlotNews:
    """Return what a client hears of slots, made by the first use."""
    return _news.setdefault(client, SlotNews(client.broker.requests))


async def take_when_freed(
    client: Client,
    take: Callable[[], Awaitable[str | None]],
    patience: Callable[[str], Awaitable[float]],
) -> None:
    """Wait in place until slots could be taken; on the I/O loop.

    Args:
        client: Whose.
        take: Takes them and returns None, or returns the name of those that lack and takes none.
        patience: Takes that name; returns after how many seconds to try again without news: who
            has them may be lost with them.

    Raises:
        BrokerError: The broker does not answer.
    """
    lacking = await take()
    if lacking is None:
        return
    news, event = slot_news_of(client), asyncio.Event()
    await news.listen()
    try:
        while lacking is not None:
            news.add(lacking, event)
            # What was freed before that was not heard.
            lacking = await take()
            if lacking is not None:
                await news.wait(event, await patience(lacking))
    finally:
        news.forget(event)


async def tell_freed(client: Client, name: str) -> None:
    """Tell those who wait in place that a slot was freed; from any loop."""

    async def tell() -> None:
        # Nobody answers: who hears it takes what is free, and the lease is there for the rest.
        with contextlib.suppress(BrokerError):
            await client.broker.requests.ask(_TOPIC, name.encode(), timeout=0.0, answers=0)

    await client.io.bridge(tell())
