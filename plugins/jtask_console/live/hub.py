"""Who is told of news: each open page watches some topics.

A page is told that there is news, not what: it looks again. So what waits for a slow browser is a
flag, however much happens meanwhile, and nothing is missed that is still so.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager

RUNS = "runs"
QUEUES = "queues"
WORKERS = "workers"
SCHEDULES = "schedules"
LIMITS = "limits"
DEAD_LETTERS = "dead-letters"
ACTIONS = "actions"
CLOCK = "clock"
"""The topics; `run_topic` makes those of single runs. There is news of the clock every few seconds,
for what a broker does not tell anybody by itself."""


def run_topic(run_id: str) -> str:
    """Return the topic of one run."""
    return f"run:{run_id}"


class Watcher:
    """One page that is open."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self.is_closing = False

    def notify(self) -> None:
        """Tell the page that there is news."""
        self._news.set()

    def look(self) -> None:
        """Say that the page is about to look: what happens from now on is news again."""
        self._news.clear()

    async def changed(self, patience: float) -> bool:
        """Wait for news.

        Args:
            patience: Seconds.

        Returns:
            bool: False when there was none in that time.
        """
        try:
            await asyncio.wait_for(self._news.wait(), patience)
        except TimeoutError:
            return False
        return True


class Hub:
    """All pages that are open; used on the console's loop only.

    Attributes:
        topics: What somebody watches; may be read on any thread.

    Args:
        on_first: Called when somebody begins to watch and nobody else does.
        on_last: Called when nobody watches any more.
    """

    def __init__(self, on_first: Callable[[], None], on_last: Callable[[], None]) -> None:
        self._on_first = on_first
        self._on_last = on_last
        self._topics: dict[str, set[Watcher]] = {}
        self._watchers: set[Watcher] = set()
        self._is_closing = False
        self.topics: frozenset[str] = frozenset()

    @asynccontextmanager
    async def watching(self, topics: Iterable[str]) -> AsyncGenerator[Watcher]:
        """Tell a page of news until it is closed.

        Args:
            topics: What it is about.
        """
        watcher = Watcher()
        watcher.is_closing = self._is_closing
        wanted = frozenset(topics)
        self._watchers.add(watcher)
        for topic in wanted:
            self._topics.setdefault(topic, set()).add(watcher)
        self.topics = frozenset(self._topics)
        if len(self._watchers) == 1:
            self._on_first()
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
            for topic in wanted:
                self._topics[topic].discard(watcher)
                if not self._topics[topic]:
                    del self._topics[topic]
            self.topics = frozenset(self._topics)
            if not self._watchers:
                self._on_last()

    def tell(self, topics: Iterable[str]) -> None:
        """Tell whoever watches one of some topics that there is news."""
        for topic in topics:
            for watcher in self._topics.get(topic, ()):
                watcher.notify()

    def tell_all(self) -> None:
        """Tell everybody, as after something may have been missed."""
        for watcher in self._watchers:
            watcher.notify()

    def close(self) -> None:
        """Let all pages go: the console ends."""
        self._is_closing = True
        for watcher in self._watchers:
            watcher.is_closing = True
            watcher.notify()
