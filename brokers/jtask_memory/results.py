"""Outcomes: the first one of a run is kept, and pushed to whoever watches."""

import asyncio
from collections.abc import Awaitable, Callable
from weakref import WeakSet

from jtask.contract import OutcomeRecord
from jtask_memory.client import SpaceClient
from jtask_memory.limits import check_size
from jtask_memory.loops import call_on
from jtask_memory.space import Space


class MemoryResults(SpaceClient):
    """The contract's `ResultStore`."""

    def __init__(self, url: str, space: Space, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(url, space, loop)
        self._watches: WeakSet[MemoryWatch] = WeakSet()

    def put(self, outcome: OutcomeRecord) -> Awaitable[bool]:
        """Store the first outcome of a run; it is stored when this returns."""
        stored: asyncio.Future[bool] = self._loop.create_future()
        check_size("the outcome of run", outcome.run_id, outcome.body)
        stored.set_result(self._space.put_first(outcome))
        return stored

    async def get(self, run_id: str) -> OutcomeRecord | None:
        """Return a run's outcome, or None when there is none yet or no more."""
        space = self._space
        with space.lock:
            body = space.outcomes.get(run_id, self._now())
        return None if body is None else OutcomeRecord(run_id, body)

    async def watch(
        self,
        target: str,
        deliver: Callable[[OutcomeRecord], None],
        gap: Callable[[], None],
    ) -> "MemoryWatch":
        """Push the outcomes of a run or of a client; none is ever missed, so there is no gap."""
        del gap
        watch = MemoryWatch(self._space, target, deliver, self._loop)
        self._watches.add(watch)
        return watch

    async def _end_watching(self) -> None:
        for watch in list(self._watches):
            await watch.close()


class MemoryWatch:
    """A standing wish for outcomes."""

    def __init__(
        self,
        space: Space,
        target: str,
        deliver: Callable[[OutcomeRecord], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._space = space
        self._target = target
        self._deliver = deliver
        self._loop = loop
        self._is_closed = False
        with space.lock:
            space.watchers.add(target, self._tell)

    async def close(self) -> None:
        """Want no more."""
        self._is_closed = True
        self._forget()

    def _tell(self, outcome: OutcomeRecord) -> None:
        if not call_on(self._loop, self._push, outcome):
            self._forget()

    def _push(self, outcome: OutcomeRecord) -> None:
        if not self._is_closed:
            self._deliver(outcome)

    def _forget(self) -> None:
        with self._space.lock:
            self._space.watchers.remove(self._target, self._tell)
