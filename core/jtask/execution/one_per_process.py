"""Something of which each process has one, such as a thread."""

import atexit
import os
from collections.abc import Callable
from typing import Generic, TypeVar

from jtask.signal_safety import SignalSafeLock

T = TypeVar("T")


class OnePerProcess(Generic[T]):
    """Something that each process makes when it first needs it; a forked child makes its own.

    Args:
        make: Makes it, and starts it if need be.
        stop: Called with it when the process ends.
    """

    def __init__(self, make: Callable[[], T], stop: Callable[[T], object] | None = None) -> None:
        self._make = make
        self._stop = stop
        self._lock = SignalSafeLock(is_brief=False)
        self._one: T | None = None
        os.register_at_fork(after_in_child=self._forget)

    def get(self) -> T:
        """Return this process's one."""
        with self._lock:
            if self._one is None:
                self._one = self._make()
                if self._stop is not None:
                    atexit.register(self._stop, self._one)
            return self._one

    def made(self) -> T | None:
        """Return this process's one if it has been needed."""
        with self._lock:
            return self._one

    def _forget(self) -> None:
        # A thread is gone in a forked child, and one that is gone too may have held the lock.
        self._lock = SignalSafeLock(is_brief=False)
        self._one = None
