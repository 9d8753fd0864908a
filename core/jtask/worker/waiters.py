"""Which of a worker's runs wait for which, and what may begin meanwhile."""

from collections import Counter
from collections.abc import Collection


class Waiters:
    """Runs that wait for others, and how deep they are; counting only, no I/O.

    A run that none of them waits for has the depth 0. One that a run of the depth n waits for has
    n + 1, and its end lets that one go on.

    Args:
        limit: How many may wait of a depth, or deeper, before no run of it begins: it might wait
            as well. What the deepest wait for may always begin, so that they end at any depth.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._awaited: dict[str, list[Collection[str]]] = {}
        self._depths: dict[str, int] = {}
        self._counts: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._awaited)

    @property
    def pressure(self) -> float:
        """How many wait, as a multiple of the limit."""
        return len(self._awaited) / self._limit

    def add(self, run_id: str, awaited: Collection[str]) -> bool:
        """Take note that a run waits for others.

        Args:
            run_id: The run. Several of its threads and coroutines may wait at a time.
            awaited: The others; kept as it is, and not gone through: it may hold very many.

        Returns:
            bool: Whether it has not waited before.
        """
        if run_id in self._awaited:
            self._awaited[run_id].append(awaited)
            return False
        depth = self._depths[run_id] = self.depth_of(run_id)
        self._counts[depth] += 1
        self._awaited[run_id] = [awaited]
        return True

    def remove(self, run_id: str, awaited: Collection[str]) -> bool:
        """Undo one `add`; returns whether the run does not wait any more."""
        waits = self._awaited.get(run_id, [])
        if awaited in waits:
            waits.remove(awaited)
        return not waits and self.forget(run_id)

    def forget(self, run_id: str) -> bool:
        """Undo all of a run; returns whether it has waited."""
        if self._awaited.pop(run_id, None) is None:
            return False
        self._counts[self._depths.pop(run_id)] -= 1
        return True

    def depth_of(self, run_id: str) -> int:
        """Return how deep a run is."""
        depths = self._depths
        return max(
            (
                depths[waiter] + 1
                for waiter, waits in self._awaited.items()
                if any(run_id in awaited for awaited in waits)
            ),
            default=0,
        )

    def depth_of_waiter(self, run_id: str) -> int:
        """Return how deep a run was when it began to wait; it waits."""
        return self._depths[run_id]

    def may_begin(self, depth: int) -> bool:
        """Tell whether a run of a depth may begin."""
        waiting = sum(count for other, count in self._counts.items() if other >= depth)
        return waiting < self._limit
