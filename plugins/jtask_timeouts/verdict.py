"""What an attempt that was watched ends with: decisions only."""

from dataclasses import dataclass
from typing import Any

from jtask.errors import RunAbandoned, RunCancelled, SoftTimeout
from jtask_timeouts.interrupts import HardInterrupt
from jtask_timeouts.limits import Limits


@dataclass(slots=True)
class Interruptions:
    """What was done to an attempt.

    Attributes:
        soft: The soft limit was over, and said so inside the task.
        hard: The hard limit was over, or the run was cancelled, and the task was interrupted.
        abandoned: It did not react, and its run has ended without it.
        cancelled: Why the run was cancelled, if that is what it was interrupted for.
    """

    soft: bool = False
    hard: bool = False
    abandoned: bool = False
    cancelled: str | None = None

    def end(self, limits: Limits) -> BaseException:
        """Return what an attempt ends with that was interrupted."""
        return limits.hard_timeout() if self.cancelled is None else RunCancelled(self.cancelled)


def conclude(
    limits: Limits, done: Interruptions, values: list[Any], raised: BaseException | None
) -> Any:
    """Return the value of an attempt, or raise what it ends with.

    Whatever comes out of a task that was interrupted for good, its run timed out or is cancelled.
    An interruption that came when the function had already returned changes nothing before that.

    Args:
        limits: Those of the task.
        done: What was done to the attempt.
        values: The value that the function returned, if it returned.
        raised: What came out of the function, or an interruption on the way.
    """
    error = _error_of(limits, done, values, raised)
    if error is None:
        return values[0]
    try:
        raise error
    finally:
        # A frame that holds an exception that holds the frame lives for long, and all arguments.
        del error, raised


def _error_of(
    limits: Limits, done: Interruptions, values: list[Any], raised: BaseException | None
) -> BaseException | None:
    if done.abandoned:
        return RunAbandoned()
    # GeneratorExit comes when a loop that is torn down closes its coroutines, which must let it
    # through.
    if done.hard and not isinstance(raised, GeneratorExit):
        error = done.end(limits)
        # With a value, what was raised is an interruption that came after the return.
        if raised is not None and not values:
            error = error.with_traceback(raised.__traceback__)
            error.__cause__ = None if _is_ours(raised) else raised
        return error
    if values and (raised is None or _is_ours(raised)):
        return None
    if done.soft and isinstance(raised, SoftTimeout):
        return limits.soft_timeout().with_traceback(raised.__traceback__)
    return raised


def _is_ours(raised: BaseException) -> bool:
    return isinstance(raised, HardInterrupt | SoftTimeout)
