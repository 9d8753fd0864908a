"""Room for a number of runs that execute at once, whatever the number of threads."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Places(Generic[T]):
    """Count the places of a task runner, and hold what waits for one.

    Args:
        size: How many there are.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._lock = threading.Lock()
        self._waiting: deque[T] = deque()
        self._returning: deque[threading.Event] = deque()

    def enter(self, one: T) -> bool:
        """Give something a place, if one is free; else keep it until `leave` returns it."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            self._waiting.append(one)
            return False

    def leave(self) -> T | None:
        """Leave a place.

        Returns:
            T | None: What has the place now and is to be started; None where nothing is.
        """
        with self._lock:
            if self._returning:
                self._returning.popleft().set()
            elif self._waiting:
                return self._waiting.popleft()
            else:
                self._free += 1
            return None

    def enter_again(self) -> None:
        """Block until there is a place; before those that have never had one."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Event()
            self._returning.append(turn)
        turn.wait()


class HeldPlace(Generic[T]):
    """One place in the hands of a thread, which gives it back while it waits for runs.

    Args:
        places: What it is one of.
        start: Starts what gets the place meanwhile; must not block.
    """

    def __init__(self, places: Places[T], start: Callable[[T], object]) -> None:
        self._places = places
        self._start = start
        # Coroutines of one run may wait at the same time.
        self._waits = 0

    def give_back(self) -> None:
        """Let another run have it."""
        self._waits += 1
        if self._waits == 1 and (following := self._places.leave()) is not None:
            self._start(following)

    def take(self) -> None:
        """Block until there is room again."""
        self._waits -= 1
        if self._waits == 0:
            self._places.enter_again()
