"""What an attempt that was watched ends with: decisions only."""

from dataclasses import dataclass
from typing import Any

from jtask.errors import RunAbandoned, SoftTimeout
from jtask_timeouts.limits import Limits


class HardInterrupt(BaseException):
    """The hard limit is over: raised inside a plain function, which must not take it for its own.

    Not an Exception, so that `except Exception` in a task does not stop it.
    """


@dataclass(slots=True)
class Interruptions:
    """What was done to an attempt.

    Attributes:
        soft: The soft limit was over, and said so inside the task.
        hard: The hard limit was over, and the task was interrupted.
        abandoned: It did not react, and its run has ended without it.
    """

    soft: bool = False
    hard: bool = False
    abandoned: bool = False


def conclude(
    limits: Limits, done: Interruptions, values: list[Any], raised: BaseException | None
) -> Any:
    """Return the value of an attempt, or raise what it ends with.

    Whatever comes out of a task after its hard limit, the run timed out. An interruption that came
    when the function had already returned changes nothing before that.

    Args:
        limits: Those of the task.
        done: What was done to the attempt.
        values: The value that the function returned, if it returned.
        raised: What came out of the function, or an interruption on the way.
    """
    if done.abandoned:
        raise RunAbandoned from None
    # GeneratorExit comes when a loop that is torn down closes its coroutines, which must let it
    # through.
    if done.hard and not isinstance(raised, GeneratorExit):
        error = limits.hard_timeout()
        # With a value, what was raised is an interruption that came after the return.
        if raised is None or values:
            raise error
        cause = None if _is_ours(raised) else raised
        raise error.with_traceback(raised.__traceback__) from cause
    if values and (raised is None or _is_ours(raised)):
        return values[0]
    assert raised is not None
    if done.soft and isinstance(raised, SoftTimeout):
        raise limits.soft_timeout().with_traceback(raised.__traceback__) from None
    raise raised


def _is_ours(raised: BaseException) -> bool:
    return isinstance(raised, HardInterrupt | SoftTimeout)
