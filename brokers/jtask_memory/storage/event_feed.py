"""The event log: what happened, in order of arrival, and who follows it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from weakref import WeakSet

from jtask.contract import Event
from jtask_memory.loops import call_on


class EventFeed:
    """Keep events for a while, and pass them on to followers; the caller holds the lock."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, Event]] = deque()
        # Weak: breaking out of `async for` notifies nobody, the follower is just dropped.
        self._followers: WeakSet[Follower] = WeakSet()

    def append(self, events: Sequence[Event], now: float, ttl: float) -> None:
        """Add events, and forget those older than the time to live."""
        self._kept.extend((now, event) for event in events)
        # Oldest first, so what is over stands at the front.
        while self._kept and self._kept[0][0] <= now - ttl:
            self._kept.popleft()
        # A copy: followers may be collected meanwhile.
        for follower in list(self._followers):
            follower.notify(events)

    def read(self, oldest: float) -> list[Event]:
        """Return what arrived at an instant or later."""
        return [event for arrived, event in self._kept if arrived >= oldest]

    def follow(self, loop: asyncio.AbstractEventLoop) -> "Follower":
        """Return the events to come, for a client on a loop."""
        follower = Follower(loop)
        self._followers.add(follower)
        return follower


class Follower(AsyncIterator[Event]):
    """Events as they arrive, until closed.

    Args:
        loop: Where they are iterated over.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: asyncio.Queue[Event | None] = asyncio.Queue()
        self._ended = False

    def notify(self, events: Sequence[Event]) -> None:
        """Pass events on, from any thread."""
        # A copy, because the caller may go on filling its list.
        call_on(self._loop, self._put, list(events))

    def close(self) -> None:
        """End the iteration after what has arrived."""
        call_on(self._loop, self._arrived.put_nowait, None)

    async def __anext__(self) -> Event:
        event = None if self._ended else await self._arrived.get()
        if event is None:
            self._ended = True
            raise StopAsyncIteration
        return event

    def _put(self, events: list[Event]) -> None:
        for event in events:
            self._arrived.put_nowait(event)
