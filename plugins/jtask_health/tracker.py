"""What follows from a worker's problems as time goes by; without I/O."""

from enum import Enum
from typing import NamedTuple


class Change(Enum):
    """What has changed."""

    ILL = "a problem has come up, or is another one"
    WELL = "the problem is gone"
    HOPELESS = "the problem lasts for too long"


class Notice(NamedTuple):
    """Something to say.

    Attributes:
        lasted: Seconds since the worker was last well.
    """

    change: Change
    problem: str
    lasted: float


class ProblemTracker:
    """Follow the problems of one worker.

    Args:
        give_up_after: Seconds after which a problem is hopeless; None is never.
    """

    def __init__(self, give_up_after: float | None) -> None:
        self._give_up_after = give_up_after
        self._problem: str | None = None
        self._since = 0.0
        self._is_hopeless = False

    def look(self, problem: str | None, now: float) -> Notice | None:
        """Return what is to be said of the problem there is at an instant, if anything."""
        before, self._problem = self._problem, problem
        if problem is None:
            self._is_hopeless = False
            return None if before is None else Notice(Change.WELL, before, now - self._since)
        if before is None:
            self._since = now
        lasted = now - self._since
        limit = self._give_up_after
        if limit is not None and lasted >= limit and not self._is_hopeless:
            self._is_hopeless = True
            return Notice(Change.HOPELESS, problem, lasted)
        return None if problem == before else Notice(Change.ILL, problem, lasted)
