"""Say what repeats itself once in a while, with a count."""

import math
import time
from collections.abc import Callable, Hashable

_REMEMBERED = 1000  # subjects; beyond that the ones whose pause is over are forgotten


class RateLimitedLog:
    """Count what was not said.

    Args:
        pause: Seconds of silence about a subject after each time it was mentioned.
        clock: Gives the present instant in seconds.
    """

    def __init__(self, pause: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause = pause
        self._clock = clock
        self._subjects: dict[Hashable, tuple[float, int]] = {}

    def __contains__(self, subject: Hashable) -> bool:
        """Tell whether a subject has been counted, as far as that is remembered."""
        return subject in self._subjects

    def count(self, subject: Hashable) -> int:
        """Count one more; return how many to mention now, 0 while it is better left unsaid."""
        now = self._clock()
        said, unsaid = self._subjects.get(subject, (-math.inf, 0))
        if now - said < self._pause:
            self._subjects[subject] = (said, unsaid + 1)
            return 0
        if len(self._subjects) >= _REMEMBERED:
            self._forget_old(now)
        self._subjects[subject] = (now, 0)
        return unsaid + 1

    def forget(self) -> None:
        """Begin anew, as if nothing had been counted."""
        self._subjects = {}

    def _forget_old(self, now: float) -> None:
        recent = {s: v for s, v in self._subjects.items() if now - v[0] < self._pause}
        self._subjects = recent if len(recent) < _REMEMBERED else {}
