"""How many runs a worker holds: its slots, what waits for one, and how far to reach ahead."""

from collections import deque

from jtask.execution.job import Job

_LARGEST_PREFETCH = 1000
_LOOKS = 5  # make the pace: what ended in a tenth of a second
_AHEAD_SHARE = 20  # of that: what ends in 5 ms
_FARTHEST_AHEAD = 200


class SlotPool:
    """Slots and the runs that wait for one; counting only, no I/O.

    Args:
        slots: How many runs may execute at once.
        prefetch: How many more may be held; None adapts it to the pace.
        reaches_ahead: Whether the runner gets more runs than there are slots while they end fast,
            so that it need not wait for the I/O thread after each; it must keep to the slots
            itself.
    """

    PACE_SECONDS = 0.02
    """Between two looks at how many runs have ended."""

    def __init__(self, slots: int, prefetch: int | None, *, reaches_ahead: bool = False) -> None:
        self._slots = slots
        self._reaches_ahead = reaches_ahead
        self._ahead = 0
        self._free = slots
        self._fixed = prefetch is not None
        self._prefetch = 1 if prefetch is None else prefetch
        self._waiting: deque[Job] = deque()
        self._ended = 0
        self._looks: deque[int] = deque(maxlen=_LOOKS)

    @property
    def credit(self) -> int:
        """How many deliveries the worker wants to hold."""
        return self._slots + self._prefetch

    def add(self, job: Job) -> None:
        """Have a run wait for a slot."""
        self._waiting.append(job)

    def next_job(self) -> Job | None:
        """Return the next run, a slot taken for it; None when none waits or no slot is free."""
        if not self._waiting or not self.take_slot():
            return None
        return self._waiting.popleft()

    def take_slot(self) -> bool:
        """Take a slot if one is free, or will be in a moment."""
        if self._free + self._ahead <= 0:
            return False
        self._free -= 1
        return True

    def free_slot(self) -> None:
        """Give a slot back."""
        self._free += 1
        self._ended += 1

    def start_now(self, job: Job) -> None:
        """Have a waiting run start at once, over the number of slots if need be."""
        self._waiting.remove(job)
        self._free -= 1

    def waiting(self) -> list[Job]:
        """Return what waits for a slot."""
        return list(self._waiting)

    def take_all(self) -> list[Job]:
        """Return what waits, and have it wait no more."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    def adapt(self) -> bool:
        """Follow the pace of the last tenth of a second; tell whether there was any."""
        self._looks.append(self._ended)
        self._ended = 0
        ended = sum(self._looks)
        if self._reaches_ahead:
            self._ahead = min(ended // _AHEAD_SHARE, _FARTHEST_AHEAD)
        if not self._fixed:
            self._prefetch = max(1, min(ended, _LARGEST_PREFETCH))
        return ended > 0
