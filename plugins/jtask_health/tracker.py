"""What follows from a worker's problems as time goes by: decisions only, no I/O, no clock."""

from enum import Enum
from typing import NamedTuple


class Change(Enum):
    """What has changed."""

    UNHEALTHY = "a problem has come up, or is another one"
    RECOVERED = "the problem is gone"
    EXPIRED = "the problem lasts for too long"


class Notice(NamedTuple):
    """A change that is worth a line in the log.

    Attributes:
        change: Which.
        problem: In one sentence; when it is gone, the last one there was.
        lasted: Seconds since the worker last got runs.
    """

    change: Change
    problem: str
    lasted: float


class ProblemTracker:
    """Follow the problems of one worker.

    Args:
        give_up_after: Seconds after which the worker is to end; None is never.
    """

    def __init__(self, give_up_after: float | None) -> None:
        self._give_up_after = give_up_after
        self._problem: str | None = None
        self._since = 0.0
        self._has_expired = False

    def update(self, problem: str | None, now: float) -> Notice | None:
        """Take note of the problem at an instant; return what has changed, if anything.

        Args:
            problem: What keeps the worker from getting runs; None when nothing does.
            now: The present instant, by a clock that never goes back.
        """
        before, self._problem = self._problem, problem
        if problem is None:
            self._has_expired = False
            return None if before is None else Notice(Change.RECOVERED, before, now - self._since)
        # One problem that follows another without a good moment between them counts as the same
        # bad time: a broker that is down shows as one, then as the other.
        if before is None:
            self._since = now
        lasted = now - self._since
        limit = self._give_up_after
        if limit is not None and lasted >= limit and not self._has_expired:
            self._has_expired = True
            return Notice(Change.EXPIRED, problem, lasted)
        return None if problem == before else Notice(Change.UNHEALTHY, problem, lasted)
