"""Read the lines of a run, those of its log or its items, until the run has ended."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from jtask.background import BackgroundTasks
from jtask.contract import (
    END_OF_ATTEMPT,
    LogLine,
    LogPage,
    LogStore,
    OutcomeRecord,
    ResultStore,
    Subscription,
)
from jtask.outcomes import SettledRun
from jtask.states import StateName
from jtask.wire.envelope import decode_outcome

_GRACE_SECONDS = 1.0
"""For the last lines of a run whose end is known; they are on another way than its outcome."""
_LONG_GRACE_SECONDS = 12.0
"""For those of an attempt that has written some and will say that it has no more: their stream may
wait for a new leader, which takes up to 9 s."""


class LogReader:
    """Read the lines of a run page by page; on the I/O loop.

    Args:
        store: Where they are.
        results: Where it is told that the run has ended.
        run_id: Whose.
    """

    def __init__(self, store: LogStore, results: ResultStore, run_id: str) -> None:
        self._store = store
        self._results = results
        self._run_id = run_id
        self._position = 0
        self._written_attempts: set[int] = set()
        self._ended_attempts: set[int] = set()
        self._end: SettledRun | None = None  # once it is known
        self._news = asyncio.Event()
        self._subscriptions: list[Subscription] = []
        self._background = BackgroundTasks()

    async def read(self, *, to_the_last: bool = False) -> list[LogLine] | None:
        """Return more of what is there; None when that is all.

        Args:
            to_the_last: See `LogStore.read`.

        Raises:
            BrokerError: The broker cannot be asked.
        """
        while True:
            async with aclosing(self._pages(to_the_last=to_the_last)) as pages:
                page = await anext(pages, None)
            if page is None:
                return None
            self._position = page.position
            self._written_attempts |= {line.attempt for line in page.lines}
            self._ended_attempts |= {
                line.attempt for line in page.lines if line.level == END_OF_ATTEMPT
            }
            lines = [line for line in page.lines if line.level != END_OF_ATTEMPT]
            if lines:
                return lines

    async def follow(self) -> list[LogLine] | None:
        """Return more once there is more; None when the run has ended and that is all.

        Raises:
            BrokerError: The broker cannot be asked.
        """
        if not self._subscriptions:
            await self._subscribe()
        while True:
            # First: what is stored after this wakes the wait below.
            self._news.clear()
            is_over = self._is_over()
            lines = await self.read()
            if lines is not None:
                return lines
            if is_over or self._is_over():
                return None
            if not await self._wait():
                # Its news may have been lost.
                return await self.read(to_the_last=True)

    async def close(self) -> None:
        """Hear of nothing any more."""
        self._background.cancel()
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            await subscription.close()

    def _pages(self, *, to_the_last: bool) -> AsyncGenerator[LogPage]:
        pages = self._store.read(self._run_id, after=self._position, to_the_last=to_the_last)
        return cast("AsyncGenerator[LogPage]", pages)

    def _is_over(self) -> bool:
        return self._end is not None and self._end.attempt in self._ended_attempts

    async def _wait(self) -> bool:
        """Wait for news; False when none comes although the run has ended."""
        try:
            await asyncio.wait_for(self._news.wait(), self._patience())
        except TimeoutError:
            return False
        return True

    def _patience(self) -> float | None:
        if self._end is None:
            return None
        # A worker that was lost says nothing any more.
        is_cut_off = self._end.state.name is StateName.CRASHED
        has_written = self._end.has_lines or self._end.attempt in self._written_attempts
        is_to_come = has_written and not is_cut_off
        return _LONG_GRACE_SECONDS if is_to_come else _GRACE_SECONDS

    async def _subscribe(self) -> None:
        logs = await self._store.watch(self._run_id, self._news.set)
        self._subscriptions.append(logs)
        end = await self._results.watch(self._run_id, self._take_end, self._look_soon)
        self._subscriptions.append(end)
        await self._look()

    def _look_soon(self) -> None:
        self._background.start(self._look())

    async def _look(self) -> None:
        found = await self._results.get(self._run_id)
        if found is not None:
            self._take_end(found)

    def _take_end(self, outcome: OutcomeRecord) -> None:
        self._end = decode_outcome(outcome.body)
        self._news.set()
