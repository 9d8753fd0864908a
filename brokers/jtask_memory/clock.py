"""The broker's clock: the machine's, or one that a test moves."""

import asyncio
import heapq
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from jtask_memory.loops import call_on

_LONGEST_SLEEP = 60.0
"""Seconds; loops count monotonic time, which stands still while a machine sleeps."""
_PATIENCE = 10.0
"""Seconds that `VirtualClock.advance` gives another thread's loop to do what is due."""


class Timer(Protocol):
    """A call that is scheduled."""

    def cancel(self) -> None:
        """Take it back."""
        ...


class Clock(Protocol):
    """Tell the time, and wait for an instant."""

    def time(self) -> float:
        """Return the present instant, seconds since the epoch."""
        ...

    def call_at(
        self, instant: float, callback: Callable[[], None], loop: asyncio.AbstractEventLoop
    ) -> Timer:
        """Call back on a loop at an instant; too early is allowed, too late is not.

        To be called on that loop.
        """
        ...


class SystemClock:
    """The clock of the machine."""

    def time(self) -> float:
        """Return the present instant, seconds since the epoch."""
        return time.time()

    def call_at(
        self, instant: float, callback: Callable[[], None], loop: asyncio.AbstractEventLoop
    ) -> Timer:
        """Call back on a loop at an instant, or a long time later but before it."""
        return loop.call_later(min(max(0.0, instant - self.time()), _LONGEST_SLEEP), callback)


@dataclass(order=True, slots=True)
class _VirtualTimer:
    instant: float
    number: int
    callback: Callable[[], None] = field(compare=False)
    loop: asyncio.AbstractEventLoop = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.cancelled = True

    def fire(self) -> None:
        """Call back on the loop, and return when that is done if the loop is running."""
        # Cancelled timers stay in the heap: to search it for each would cost more.
        if self.cancelled:
            return
        if _running_loop() is self.loop:
            # `advance` runs on that loop itself: to wait for it would never end.
            self.callback()
            return
        done = threading.Event()
        if call_on(self.loop, self._call_and_notify, done) and self.loop.is_running():
            done.wait(_PATIENCE)

    def _call_and_notify(self, done: threading.Event) -> None:
        try:
            self.callback()
        finally:
            done.set()


class VirtualClock:
    """A clock that stands still until `advance` moves it.

    Args:
        start: The first instant, seconds since the epoch; the present when not given.
    """

    def __init__(self, start: float | None = None) -> None:
        self._now = time.time() if start is None else start
        self._lock = threading.Lock()
        self._timers: list[_VirtualTimer] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        """Return the present instant of this clock, seconds since the epoch."""
        return self._now

    def call_at(
        self, instant: float, callback: Callable[[], None], loop: asyncio.AbstractEventLoop
    ) -> Timer:
        """Call back on a loop when `advance` reaches an instant."""
        timer = _VirtualTimer(instant, next(self._numbers), callback, loop)
        with self._lock:
            heapq.heappush(self._timers, timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Move on; what becomes due on the way is done at its own instant, before this returns.

        Only a loop that is not running does it later, when it runs.
        """
        target = self._now + seconds
        while timer := self._pop_due(target):
            # A timer that was set for the past must not turn the clock back.
            self._now = max(self._now, timer.instant)
            timer.fire()
        self._now = target

    def _pop_due(self, target: float) -> _VirtualTimer | None:
        with self._lock:
            if self._timers and self._timers[0].instant <= target:
                return heapq.heappop(self._timers)
            return None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
