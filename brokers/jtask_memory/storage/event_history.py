"""What happened to runs, in order of arrival."""

import secrets
from collections import deque
from collections.abc import Sequence
from itertools import islice

from jtask.contract import Event, EventBounds, EventPage

_Arrived = tuple[float, Event]


class EventHistory:
    """Keep events for a while, in one order and by run; the caller holds the lock."""

    def __init__(self) -> None:
        self._kept: deque[_Arrived] = deque()
        self._by_run: dict[str, deque[_Arrived]] = {}
        self._identity = secrets.token_hex(8)
        self._deleted = 0  # since the beginning: positions count those too

    def append(self, events: Sequence[Event], now: float, ttl: float) -> None:
        """Add events, and delete those older than the time to live."""
        for event in events:
            arrived = (now, event)
            self._kept.append(arrived)
            self._by_run.setdefault(event.run_id, deque()).append(arrived)
        while self._kept and self._kept[0][0] <= now - ttl:
            self._delete_oldest()

    def read(self, oldest: float) -> list[Event]:
        """Return what arrived at an instant or later."""
        return [event for arrived, event in self._kept if arrived >= oldest]

    def read_run(self, run_id: str, oldest: float) -> list[Event]:
        """Return what arrived of one run at an instant or later."""
        return [event for arrived, event in self._by_run.get(run_id, ()) if arrived >= oldest]

    def page(self, after: int, oldest: float, count: int) -> EventPage | None:
        """Return up to so many events after a position; None when there are none."""
        skipped = max(0, after - self._deleted)
        kept = islice(enumerate(self._kept, self._deleted + 1), skipped, None)
        found = list(islice(((n, event) for n, (at, event) in kept if at >= oldest), count))
        if not found:
            return None
        return EventPage([event for _, event in found], found[0][0], found[-1][0])

    def bounds(self, oldest: float) -> EventBounds:
        """Return what arrived at an instant or later."""
        last = self._deleted + len(self._kept)
        kept = sum(arrived >= oldest for arrived, _ in self._kept)
        return EventBounds(self._identity, last - kept + 1, last)

    def _delete_oldest(self) -> None:
        self._deleted += 1
        _, event = self._kept.popleft()
        # The oldest of all is the oldest of its run too.
        of_run = self._by_run[event.run_id]
        of_run.popleft()
        if not of_run:
            del self._by_run[event.run_id]
