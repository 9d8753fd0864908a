"""The news that more is stored."""

import asyncio
from collections.abc import Callable

from jtask_memory.loops import call_on
from jtask_memory.storage import Storage
from jtask_memory.storage.subscribers import Subscribers


class NewsSubscription:
    """Passes news on until closed.

    Args:
        storage: Where it is stored.
        readers: Those who hear of it.
        name: What they are subscribed to.
        on_news: Called on the loop.
        loop: Of the client.
    """

    def __init__(
        self,
        storage: Storage,
        readers: Subscribers[[]],
        name: str,
        on_news: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._storage = storage
        self._readers = readers
        self._name = name
        self._on_news = on_news
        self._loop = loop
        self._is_closed = False
        with storage.lock:
            readers.add(name, self._notify)

    async def close(self) -> None:
        """Pass nothing on any more."""
        self._is_closed = True
        self._forget()

    def _notify(self) -> None:
        # Called by whoever stored something, on any thread.
        if not call_on(self._loop, self._push):
            self._forget()

    def _push(self) -> None:
        if not self._is_closed:
            self._on_news()

    def _forget(self) -> None:
        with self._storage.lock:
            self._readers.remove(self._name, self._notify)
