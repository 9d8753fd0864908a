"""What happened to runs, in order of arrival."""

from collections import deque
from collections.abc import Sequence

from jtask.contract import Event

_Arrived = tuple[float, Event]


class EventHistory:
    """Keep events for a while, in one order and by run; the caller holds the lock."""

    def __init__(self) -> None:
        self._kept: deque[_Arrived] = deque()
        self._by_run: dict[str, deque[_Arrived]] = {}

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

    def _delete_oldest(self) -> None:
        _, event = self._kept.popleft()
        # The oldest of all is the oldest of its run too.
        of_run = self._by_run[event.run_id]
        of_run.popleft()
        if not of_run:
            del self._by_run[event.run_id]
