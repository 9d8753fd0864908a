"""Hand what many threads say to the I/O thread in one step."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from jtask.client.io_thread import IoThread

T = TypeVar("T")


class Gathered(Generic[T]):
    """Call a function on the I/O thread with all that has come since its last call.

    Args:
        io: The thread.
        take: Called with at least one item, in the order in which they came.
    """

    def __init__(self, io: IoThread, take: Callable[[Sequence[T]], None]) -> None:
        self._io = io
        self._take = take
        self._items = deque[T]()
        self._is_posted = False

    def add(self, item: T) -> None:
        """Add one item; from any thread."""
        self._items.append(item)
        # No lock: of two that both post, the second call finds nothing.
        if not self._is_posted:
            self._is_posted = True
            self._io.post(self._hand_over)

    def _hand_over(self) -> None:
        # Cleared first: what comes from here on is posted again, so nothing is left over.
        self._is_posted = False
        items = self._items
        if taken := [items.popleft() for _ in range(len(items))]:
            self._take(taken)
