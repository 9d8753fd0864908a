"""News from the broker, for all open pages of this process, while there is one."""

import asyncio
import logging
from collections.abc import Generator, Iterable
from contextlib import contextmanager

from jtask.client import get_client
from jtask.contract import Broker, Event
from jtask.errors import JTaskError
from jtask.states import StateName
from jtask_console.live.hub import CLOCK, DEAD_LETTERS, RUNS, Hub, run_topic
from jtask_console.live.liveness import Liveness
from jtask_console.run_index import RunIndex

_TICK = 2.0  # seconds between two looks at what a broker tells nobody by itself
_CHECK = (
    5.0  # seconds between two questions whether the broker is there, which may be silent for long
)
_PAUSE = 1.0  # seconds before the broker is asked again that did not answer
# Seconds in which the index takes in what the log has: looked at so often, waited for so long.
_INDEX_LOOK, _INDEX_PATIENCE = 0.05, 3.0
_DEAD = frozenset({StateName.FAILED, StateName.TIMED_OUT, StateName.CRASHED, StateName.EXPIRED})
_log = logging.getLogger("jtask.console")


class Feed:
    """Tells the open pages of what happens at the broker; used on the console's loop.

    Args:
        index: What pages are made from: they are told when it has what there is news of.
    """

    def __init__(self, index: RunIndex) -> None:
        self.hub = Hub(self._start, self._stop)
        self.liveness = Liveness(index, self.hub.tell_all)
        self._index = index
        self._work: list[asyncio.Task[None]] = []

    def close(self) -> None:
        """Let all pages go."""
        self.hub.close()
        self._stop()

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._work = [loop.create_task(self._tick()), loop.create_task(self._follow())]
        self.liveness.start()

    def _stop(self) -> None:
        self.liveness.stop()
        for work in self._work:
            work.cancel()
        self._work = []

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self.hub.tell([CLOCK])

    async def _follow(self) -> None:
        while True:
            try:
                await self._follow_until_lost()
            except JTaskError as error:
                _log.debug("the events cannot be followed now: %s", error)
            await asyncio.sleep(_PAUSE)
            # Whatever was missed meanwhile.
            self.hub.tell_all()

    async def _follow_until_lost(self) -> None:
        client = get_client()
        news = asyncio.Event()
        with _watching(news):
            position = (await client.bridge(client.broker.events.bounds())).last
            # What happened between the making of a page and now is news as well.
            self.hub.tell_all()
            while True:
                await news.wait()
                news.clear()
                # Only what somebody looks at.
                found, position = await client.bridge(_topics_after(client.broker, position))
                topics = found & self.hub.topics
                if topics:
                    await self._until_indexed(position)
                    self.hub.tell(topics)

    async def _until_indexed(self, position: int) -> None:
        """Wait until the index has what the log has up to a position, for a while."""
        for _ in range(round(_INDEX_PATIENCE / _INDEX_LOOK)):
            known = await self._index.ask(lambda index: index.position())
            if known is not None and known.position >= position:
                return
            await asyncio.sleep(_INDEX_LOOK)


def topics_of(events: Iterable[Event]) -> set[str]:
    """Return what some events are news of."""
    topics: set[str] = set()
    for event in events:
        topics |= {RUNS, run_topic(event.run_id)}
        if event.parent:
            topics.add(run_topic(event.parent))
        if event.state in _DEAD:
            topics.add(DEAD_LETTERS)
    return topics


async def _topics_after(broker: Broker, position: int) -> tuple[set[str], int]:
    topics: set[str] = set()
    async for page in broker.events.read_pages(after=position):
        topics |= topics_of(page.events)
        position = page.position
    return topics, position


@contextmanager
def _watching(news: asyncio.Event) -> Generator[None]:
    """Set an event of the running loop whenever there is more in the log."""
    client, loop = get_client(), asyncio.get_running_loop()

    def on_news() -> None:
        loop.call_soon_threadsafe(news.set)

    subscription = client.io.submit(client.broker.events.watch(on_news))
    try:
        yield
    finally:

        async def close() -> None:
            await (await asyncio.wrap_future(subscription)).close()

        # Not awaited: whoever watches may be cancelled.
        client.io.submit(close())
