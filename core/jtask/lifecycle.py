"""What follows from what happened to a run: decisions only, no I/O, no clock.

The engine and the worker perform what is decided here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from jtask.errors import (
    ProcessDied,
    ResultError,
    RunCancelled,
    RunExpired,
    RunNotReady,
    RunRefused,
    RunTimedOut,
    SoftTimeout,
)
from jtask.states import State, StateName


@dataclass(frozen=True, slots=True)
class Retry:
    """A plugin's request to start a run again at an instant.

    Attributes:
        at: When, seconds since the epoch; now or earlier is at once.
        reason: One sentence for the history.
    """

    at: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Park:
    """A plugin's request to let a run wait until somebody wakes it (`RunQueue.wake`).

    Attributes:
        key: What it waits for: any text of up to 200 characters.
        until: When it is asked again at the latest, seconds since the epoch.
        reason: One sentence for the history.
        after: Awaited on the loop of the hooks once the run is parked. What it waited for may have
            come about just before, and then nobody wakes it: look once more, and wake it.
    """

    key: str
    until: float
    reason: str = ""
    after: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class RollBack:
    """A plugin's answer that a run which has completed does not stand.

    Attributes:
        message: One sentence for people.
    """

    message: str


def _unset(_: str | None) -> Awaitable[None]:
    raise RuntimeError("a run whose end was put off was settled before jtask knew of it")


@dataclass(slots=True, eq=False)
class PutOff:
    """A plugin's answer that it will say later how a direct call ends that has completed.

    Attributes:
        begin: Awaited where the run is, once `settle` can be called, and may call it; None where
            there is nothing to begin.
        settle: Set by jtask; to be awaited once. Takes the message of a run that is rolled back,
            or None for one that stands.
    """

    begin: Callable[[], Awaitable[object]] | None = None
    settle: Callable[[str | None], Awaitable[None]] = _unset


class AttemptEnd(StrEnum):
    """How an attempt was over that plugins had admitted."""

    SETTLED = "settled"
    """The run has ended."""
    RETRIED = "retried"
    """The run comes again, for another attempt."""
    HANDED_BACK = "handed back"
    """The run comes again, for the same attempt: its worker stops."""
    WITHDRAWN = "withdrawn"
    """It was not made: another plugin did not admit it."""
    LOST = "lost"
    """Its worker was lost."""


@dataclass(frozen=True, slots=True)
class Execute:
    """Start the attempt."""


@dataclass(frozen=True, slots=True)
class Finish:
    """End the run in a final state.

    Attributes:
        state: Which.
        message: One sentence for people.
        at: When it ended, seconds since the epoch; None is now.
        dead_letter: Whether to keep the run with the dead letters, with the message as the reason.
        details: What to keep with the state; None is nothing.
    """

    state: StateName
    message: str = ""
    at: float | None = None
    dead_letter: bool = False
    details: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Reschedule:
    """Deliver the run again at an instant; it holds no slot until then.

    Attributes:
        at: When, seconds since the epoch.
        state: What it waits in: AwaitingRetry or Scheduled.
        message: One sentence for people.
        new_attempt: Whether the attempt that is over counts; False for one that was not made.
        park: What it is parked under until then; None when nobody is to wake it.
    """

    at: float
    state: StateName
    message: str
    new_attempt: bool
    park: Park | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """Give the run to another worker now; the attempt does not count."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Take the run off its queue: its outcome is already stored."""


StartDecision = Execute | Discard | Finish
AfterError = Finish | Reschedule | Release

_EXPLICIT: dict[type[BaseException], StateName] = {
    RunTimedOut: StateName.TIMED_OUT,
    SoftTimeout: StateName.TIMED_OUT,
    ProcessDied: StateName.CRASHED,
    RunCancelled: StateName.CANCELLED,
    RunRefused: StateName.CANCELLED,
    RunNotReady: StateName.NOT_READY,
    RunExpired: StateName.EXPIRED,
    ResultError: StateName.FAILED,
}
_ISOLATED_PATIENCE = 3
_SUSPECT_LOSSES = 2  # one is nothing: a deploy or a full memory takes any worker


def is_suspect(lost_workers: int) -> bool:
    """Tell whether a run may be what killed its workers.

    Two of them are gone, and of the runs they held only one need be to blame: suspects are executed
    apart from the others, so that the innocent ones end.
    """
    return lost_workers >= _SUSPECT_LOSSES


def may_isolate(max_crashes: int) -> bool:
    """Tell whether a suspect has a life left for a try in a process of its own."""
    return max_crashes > _SUSPECT_LOSSES


def isolated_limit(max_crashes: int) -> int:
    """Return how many workers a run may lose that is executed in a process of its own.

    If it is to blame, that process dies, and the run ends with it. A worker that is lost beside it
    has most likely been killed by another run; not without end, though.
    """
    return max_crashes * _ISOLATED_PATIENCE


def decide_start(
    *,
    crashes: int,
    max_crashes: int,
    settled: bool,
    expires: float | None,
    now: float,
) -> StartDecision:
    """Decide what to do with a delivered run.

    Args:
        crashes: How many workers it lost.
        max_crashes: How many it may lose.
        settled: Whether its outcome is stored already.
        expires: Not to be started after this instant.
        now: The present instant.
    """
    # First: an outcome that is stored stands, whatever else is true of the run.
    if settled:
        return Discard()
    if crashes >= max_crashes:
        workers = "worker" if crashes == 1 else "workers"
        message = f"the run lost {crashes} {workers}, one each try"
        return Finish(StateName.CRASHED, message, dead_letter=True)
    # Not before the crashes: a run that lost its workers was started in time.
    if expires is not None and now > expires:
        return Finish(StateName.EXPIRED, "the run was not started before it expired")
    return Execute()


def after_error(
    error: BaseException,
    retry: Retry | None,
    *,
    stopping: bool,
    cancelled: str | None = None,
    returned: State | None = None,
) -> AfterError:
    """Decide what follows an exception of the task's function.

    Args:
        error: What was raised.
        retry: What the plugins answered; asked for `retryable` errors only.
        stopping: Whether the worker itself interrupted the run in order to stop.
        cancelled: Why the run was asked to end; None when it was not.
        returned: The state that the function returned, of which the exception was made.
    """
    # The order is the rule. A run that was asked to end is Cancelled even while the worker stops;
    # and a CancelledError that nobody here asked for is the task's own doing, further below. Any
    # other error of a run that was asked to end is its own.
    if cancelled is not None and isinstance(error, asyncio.CancelledError | RunCancelled):
        return Finish(StateName.CANCELLED, cancelled)
    if stopping and isinstance(error, asyncio.CancelledError):
        return Release()
    if retry is not None and retryable(error, returned):
        reason = retry.reason or describe(error)
        return Reschedule(retry.at, StateName.AWAITING_RETRY, reason, new_attempt=True)
    if returned is not None:
        message = returned.message or str(error)
        return Finish(returned.name, message, details=returned.details)
    for kind, state in _EXPLICIT.items():
        if isinstance(error, kind):
            return Finish(state, str(error))
    if isinstance(error, asyncio.CancelledError):
        return Finish(StateName.CRASHED, "the task's coroutine was cancelled from inside")
    if not isinstance(error, Exception):
        return Finish(StateName.CRASHED, f"the task raised {describe(error)}")
    return Finish(StateName.FAILED, f"the task raised {describe(error)}")


def retryable(error: BaseException, returned: State | None = None) -> bool:
    """Tell whether an exception is a failure that a retry may mend; a crash is not.

    Args:
        error: What was raised.
        returned: The state that the function returned, of which the exception was made.
    """
    if returned is not None and not returned.is_failed():
        return False
    # Ends that were meant, a crash, and work that was done: its value would be refused once more.
    never = (ProcessDied, RunCancelled, RunRefused, RunNotReady, RunExpired, ResultError)
    return isinstance(error, Exception) and not isinstance(error, never)


def describe(error: BaseException) -> str:
    """Return `Type: message` in one line of at most 500 characters."""
    try:  # a __str__ of the user's may raise anything
        text = " ".join(str(error).split())
    except Exception:
        text = "(its message cannot be made)"
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:500]
