"""Values that are forgotten at an instant."""

import heapq
import math
from typing import Generic, NamedTuple, TypeVar

V = TypeVar("V")


class _Kept(NamedTuple, Generic[V]):
    value: V
    until: float


class TTLDict(Generic[V]):
    """A dictionary whose entries end; the present is an argument, so it needs no clock."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept[V]] = {}
        # An entry that was replaced or removed leaves its item here until that item's instant.
        self._ends: list[tuple[float, str]] = []

    def put(self, key: str, value: V, now: float, until: float) -> None:
        """Keep a value until an instant, `math.inf` for ever, as the youngest entry."""
        self.purge(now)
        # Removed first, because replacing a value would leave it in its old place in the order.
        self._kept.pop(key, None)
        self._kept[key] = _Kept(value, until)
        if until < math.inf:
            heapq.heappush(self._ends, (until, key))

    def get(self, key: str, now: float) -> V | None:
        """Return a value, or None when there is none or no more."""
        kept = self._kept.get(key)
        return kept.value if kept is not None and now < kept.until else None

    def pop(self, key: str, now: float) -> V | None:
        """Remove a value and return it, or None when there is none or no more."""
        value = self.get(key, now)
        self._kept.pop(key, None)
        return value

    def items(self, now: float) -> list[tuple[str, V]]:
        """Return what is kept, oldest first."""
        self.purge(now)
        return [(key, kept.value) for key, kept in self._kept.items()]

    def purge(self, now: float) -> None:
        """Forget what has ended."""
        while self._ends and self._ends[0][0] <= now:
            _, key = heapq.heappop(self._ends)
            kept = self._kept.get(key)
            # Put again since, with a later end: another item stands for it.
            if kept is not None and kept.until <= now:
                del self._kept[key]
