"""News for all open pages of this process: of what the index has taken in, and of the clock."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

from jtask.contract import Event
from jtask.states import StateName
from jtask_console.live.hub import CLOCK, DEAD_LETTERS, RUNS, Hub, run_topic
from jtask_console.live.liveness import Liveness
from jtask_console.threaded_index import ThreadedIndex

_TICK = 2.0  # seconds between two looks at what a broker tells nobody by itself
_DEAD = frozenset({StateName.FAILED, StateName.TIMED_OUT, StateName.CRASHED, StateName.EXPIRED})


class Feed:
    """Tells the open pages of what has changed; used on the console's loop, but for `hear`.

    Args:
        index: What pages are made from.
    """

    def __init__(self, index: ThreadedIndex) -> None:
        self.hub = Hub(self._start, self._stop)
        self.liveness = Liveness(index, self.hub.tell_all)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: list[asyncio.Task[None]] = []

    def close(self) -> None:
        """Let all pages go."""
        self.hub.close()
        self._stop()

    def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._work = [self._loop.create_task(self._tick())]
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

    def hear(self, events: Sequence[Event] | None) -> None:
        """Tell the pages of what is new in the index; from any thread.

        Args:
            events: What it has taken in; None where it is not known what has changed.
        """
        # Only what somebody looks at, as nearly always nobody does.
        wanted, loop = self.hub.topics, self._loop
        if not wanted or loop is None:
            return
        topics = None if events is None else topics_of(events) & wanted
        with suppress(RuntimeError):  # the console has just ended
            if topics is None:
                loop.call_soon_threadsafe(self.hub.tell_all)
            elif topics:
                loop.call_soon_threadsafe(self.hub.tell, topics)


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
