"""What a process has one of, and makes when it first needs it."""

import functools
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Singleton(Generic[T]):
    """Make something by the first call, and return it by all; a decorator for what makes it.

    Unlike with `functools.cache`, threads that call it first at one moment get the same one. They
    may all make it, as no lock is held: a lock could wait for an import in another thread, which
    may wait for the lock.

    Args:
        make: Makes it; nothing must be lost with one that is not used.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        functools.update_wrapper(self, make)
        self._make = make
        self._made: dict[None, T] = {}

    def __call__(self) -> T:
        """Return the one that was made first."""
        made = self._made
        try:
            return made[None]
        except KeyError:
            pass  # an error of what makes it must not have this one for its context
        return made.setdefault(None, self._make())  # atomic in CPython

    def cache_clear(self) -> None:
        """Make another by the next call."""
        # Another dict: what is still being made belongs to those that asked before.
        self._made = {}
