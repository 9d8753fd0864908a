"""Log what repeats itself once in a while, with a count."""

import math
import time
from collections.abc import Callable, Hashable

# Subjects; beyond that the ones whose pause is over are forgotten. A subject holds a reason, which
# may name a task's key, so their number has no bound of its own.
_REMEMBERED = 100
_OTHERS = object()


class RateLimitedLog:
    """Decide which of many equal lines are logged, and count those that are not.

    Args:
        pause: Seconds for which a subject is not logged again.
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
        """Count one more of a subject.

        Returns:
            int: How many there were since the last line, this one included; 0 when it is not to be
                logged.
        """
        now = self._clock()
        if subject not in self._subjects and len(self._subjects) >= _REMEMBERED:
            self._forget_old(now)
            if len(self._subjects) >= _REMEMBERED:
                # So many kinds within one pause: those that come from now on count as one.
                subject = _OTHERS
        said, unsaid = self._subjects.get(subject, (-math.inf, 0))
        if now - said < self._pause:
            self._subjects[subject] = (said, unsaid + 1)
            return 0
        self._subjects[subject] = (now, 0)
        return unsaid + 1

    def forget(self) -> None:
        """Begin anew, as if nothing had been counted."""
        self._subjects = {}

    def _forget_old(self, now: float) -> None:
        self._subjects = {s: v for s, v in self._subjects.items() if now - v[0] < self._pause}
