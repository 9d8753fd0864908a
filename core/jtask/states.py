"""Where a run can stand, and the one table that says which moves are legal."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from jtask.errors import (
    IllegalTransition,
    RunCancelled,
    RunCrashed,
    RunExpired,
    RunFailed,
    RunNotReady,
    RunTimedOut,
    RunUnfinished,
)
from jtask.field_defaults import new_dict


class StateName(StrEnum):
    """The name of a state; what each means is in docs/states.md."""

    SCHEDULED = "Scheduled"
    PENDING = "Pending"
    RUNNING = "Running"
    AWAITING_RETRY = "AwaitingRetry"
    RETRYING = "Retrying"
    COMPLETED = "Completed"
    CACHED = "Cached"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"
    CRASHED = "Crashed"
    CANCELLED = "Cancelled"
    EXPIRED = "Expired"
    NOT_READY = "NotReady"
    ROLLED_BACK = "RolledBack"


EXECUTING = frozenset({StateName.RUNNING, StateName.RETRYING})
"""In which of them the task's body is executing."""

STARTS = frozenset({StateName.SCHEDULED, StateName.PENDING})
"""In which of them a run may begin."""

_AFTER_EXECUTING = frozenset(
    {
        StateName.COMPLETED,
        StateName.FAILED,
        StateName.TIMED_OUT,
        StateName.CRASHED,
        StateName.CANCELLED,
        StateName.AWAITING_RETRY,
        # Raised by the body, its own or of another run that it waited for.
        StateName.EXPIRED,
        StateName.NOT_READY,
        # Handed back by a stopping worker, or delivered again because its worker died.
        StateName.PENDING,
        StateName.SCHEDULED,
    }
)

TRANSITIONS: Mapping[StateName, frozenset[StateName]] = {
    StateName.SCHEDULED: frozenset(
        {StateName.PENDING, StateName.CANCELLED, StateName.EXPIRED, StateName.CRASHED}
    ),
    StateName.PENDING: frozenset(
        {
            StateName.RUNNING,
            StateName.RETRYING,
            StateName.CACHED,
            StateName.NOT_READY,
            StateName.CANCELLED,
            StateName.EXPIRED,
            StateName.CRASHED,
            StateName.FAILED,
            # Handed back before it started.
            StateName.SCHEDULED,
        }
    ),
    StateName.RUNNING: _AFTER_EXECUTING | {StateName.RETRYING},
    StateName.RETRYING: _AFTER_EXECUTING | {StateName.RETRYING},
    StateName.AWAITING_RETRY: frozenset(
        {
            StateName.PENDING,
            # Not admitted: it waits on.
            StateName.SCHEDULED,
            # The worker that retries it cannot read its arguments.
            StateName.FAILED,
            # The value of another run that it took at first is no longer kept.
            StateName.NOT_READY,
            StateName.CACHED,
            StateName.RETRYING,
            StateName.CANCELLED,
            StateName.EXPIRED,
            StateName.CRASHED,
        }
    ),
    StateName.COMPLETED: frozenset({StateName.ROLLED_BACK}),
    StateName.CACHED: frozenset(),
    StateName.FAILED: frozenset(),
    StateName.TIMED_OUT: frozenset(),
    StateName.CRASHED: frozenset(),
    StateName.CANCELLED: frozenset(),
    StateName.EXPIRED: frozenset(),
    StateName.NOT_READY: frozenset(),
    StateName.ROLLED_BACK: frozenset(),
}
"""From each state, the states a run may enter next."""

# Completed is one: it settles the run, although a transaction may still roll it back.
FINAL = frozenset(name for name in StateName if TRANSITIONS[name] <= {StateName.ROLLED_BACK})
"""States that settle a run: an outcome exists, waiters wake."""

SUCCESSFUL = frozenset({StateName.COMPLETED, StateName.CACHED, StateName.ROLLED_BACK})
"""Final states that carry a value."""

ERROR_OF: Mapping[StateName, type[RunFailed]] = {
    StateName.FAILED: RunFailed,
    StateName.TIMED_OUT: RunTimedOut,
    StateName.CRASHED: RunCrashed,
    StateName.CANCELLED: RunCancelled,
    StateName.EXPIRED: RunExpired,
    StateName.NOT_READY: RunNotReady,
}
"""What a waiter gets for a final state that carries no exception of the task's own."""


def check_transition(current: StateName | None, new: StateName) -> None:
    """Check one move against the table.

    Args:
        current: Where the run stands; None before its first state.
        new: The state it is about to enter.

    Raises:
        IllegalTransition: The table does not allow the move.
    """
    allowed = STARTS if current is None else TRANSITIONS[current]
    if new not in allowed:
        raise IllegalTransition(f"a run cannot move from {current or 'nothing'} to {new}")


@dataclass(slots=True)
class State:
    """One state a run entered; not to be changed.

    Every run enters several, and a frozen dataclass takes four times as long to make.

    Attributes:
        name: Which state.
        at: When it was entered, seconds since the epoch.
        message: One sentence for people; may be empty.
        details: What a plugin wants kept with the state; JSON values. A state that waits has
            `until`, the instant it waits for; one that a task has named, `name`.
        data: What a final state came with, in the process where it was entered: the value, or the
            exception. It does not travel.
        load: Gets that where it is not at hand (a handle, a value that is still written); takes
            `raise_on_failure`.
    """

    name: StateName
    at: float
    message: str = ""
    details: Mapping[str, object] = field(default_factory=new_dict)
    data: Any = field(default=None, compare=False, repr=False)
    load: Callable[[bool], Any] | None = field(default=None, compare=False, repr=False)

    def __hash__(self) -> int:
        # Nobody changes one, and handles in a set are resolved to states in a set.
        return hash((self.name, self.at))

    @property
    def label(self) -> str:
        """The state for people: the name that a task gave it, or its own."""
        return str(self.details.get("name") or self.name)

    def result(self, raise_on_failure: bool = True) -> Any:
        """Return the value of a final state, or raise its exception.

        Args:
            raise_on_failure: False returns the exception instead of raising it.

        Raises:
            RunUnfinished: The state is not final.
            Exception: What the task raised, or the `RunFailed` that belongs to the state.
        """
        if self.load is not None:
            return self.load(raise_on_failure)
        if self.is_completed():
            return self.data
        error = self.data
        if not isinstance(error, BaseException):
            if not self.is_final():
                raise RunUnfinished(f"the run is {self.name} and has no result yet: wait for it")
            error = ERROR_OF[self.name](self.message or None)
        if raise_on_failure:
            raise error
        return error

    def is_scheduled(self) -> bool:
        """Tell whether the run waits for its time or for a worker."""
        return self.name in {StateName.SCHEDULED, StateName.AWAITING_RETRY}

    def is_pending(self) -> bool:
        """Tell whether a worker holds the run without having started it."""
        return self.name is StateName.PENDING

    def is_running(self) -> bool:
        """Tell whether the task's body is executing."""
        return self.name in EXECUTING

    def is_completed(self) -> bool:
        """Tell whether the run ended with a value."""
        return self.name in SUCCESSFUL

    def is_failed(self) -> bool:
        """Tell whether the run ended with an error of its own, a timeout included."""
        return self.name in {StateName.FAILED, StateName.TIMED_OUT}

    def is_crashed(self) -> bool:
        """Tell whether the run's process was lost."""
        return self.name is StateName.CRASHED

    def is_cancelled(self) -> bool:
        """Tell whether the run was cancelled."""
        return self.name is StateName.CANCELLED

    def is_final(self) -> bool:
        """Tell whether the run is over."""
        return self.name in FINAL


def Completed(  # noqa: N802 - as a class, and as Prefect has it
    *, data: Any = None, message: str = "", name: str | None = None
) -> State:
    """Make the state in which a task ends by returning it.

    Args:
        data: The run's value.
        message: One sentence for people.
        name: What people shall read in place of `Completed`.
    """
    return _returned(StateName.COMPLETED, data, message, name)


def Failed(  # noqa: N802
    *, message: str = "", data: BaseException | None = None, name: str | None = None
) -> State:
    """Make the state in which a task fails by returning it, unless it is retried.

    Args:
        message: Why, one sentence.
        data: What whoever waits for the run gets; a `RunFailed` with the message without it.
        name: What people shall read in place of `Failed`.
    """
    return _returned(StateName.FAILED, data, message, name)


def Cancelled(*, message: str = "", name: str | None = None) -> State:  # noqa: N802
    """Make the state in which a task ends as cancelled by returning it; see `Failed`."""
    return _returned(StateName.CANCELLED, None, message, name)


def Crashed(*, message: str = "", name: str | None = None) -> State:  # noqa: N802
    """Make the state in which a task ends as crashed by returning it; see `Failed`."""
    return _returned(StateName.CRASHED, None, message, name)


def _returned(name: StateName, data: Any, message: str, label: str | None) -> State:
    return State(name, time.time(), message, {} if label is None else {"name": label}, data)
