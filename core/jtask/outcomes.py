"""How a run ended."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from jtask.errors import Failure
from jtask.needs import Needs
from jtask.states import SUCCESSFUL, State


@dataclass(slots=True)
class Outcome:
    """The end of a run in the process where it ended.

    Attributes:
        state: The final state.
        value: What the task returned; meaningful for successful states.
        error: What the task raised; None for states that come without an exception.
        payload: The value as it will be stored; None where it is not stored.
        dead_letter: Why a worker shall keep the run with the dead letters, None to keep nothing; a
            plugin may change it in the `jtask_settled` hook.
        is_open: Whether a plugin has put off how the run ends, see `jtask_completed`.
        when_settled: Called once that is known; set by jtask itself.
    """

    state: State
    value: Any = None
    error: BaseException | None = None
    payload: bytes | None = None
    dead_letter: str | None = None
    is_open: bool = False
    when_settled: Callable[[], object] | None = None

    @property
    def successful(self) -> bool:
        """Whether there is a value."""
        return self.state.name in SUCCESSFUL


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One try of a run that did not settle it, as kept in its history.

    Times are seconds since the epoch; `ended` is None when the worker was lost.
    """

    number: int
    started: float | None
    ended: float | None
    worker: str
    reason: str
    failure: Failure | None = None


@dataclass(slots=True)
class SettledRun:
    """Everything stored about a run that is over; not to be changed.

    Attributes:
        run_id: The run.
        task_key: Its task's key.
        task_name: Its task's name.
        state: The final state.
        attempt: Which attempt settled it, from 1.
        created: When it was enqueued or called, seconds since the epoch; likewise the next two.
        started: When its first attempt began; None when it never began.
        ended: When it was over.
        run_time: Seconds spent executing, waits between attempts left out.
        worker: Who executed it.
        serializer: How `payload` is written.
        payload: The return value as stored; empty when there is none.
        blob: Size of a return value kept as a blob instead; None when `payload` holds it.
        failure: The exception, for states that carry one.
        history: Earlier attempts.
        tags: Those of the task and of the caller.
        parent: The run that called or enqueued this one.
        root: The first of those above it.
        version: The task's version where it was called or enqueued.
        run_name: The run's own name; None when it has none.
        needs: The runs that it waited for, and which input each of them went into.
        has_lines: Whether the attempt that settled it has written to its log: the line that says
            that no more come is there, or on its way.
    """

    run_id: str
    task_key: str
    task_name: str
    state: State
    attempt: int
    created: float
    started: float | None
    ended: float
    run_time: float
    worker: str
    serializer: str
    payload: bytes = b""
    blob: int | None = None
    failure: Failure | None = None
    history: Sequence[AttemptRecord] = field(default_factory=tuple[AttemptRecord, ...])
    tags: tuple[str, ...] = ()
    parent: str | None = None
    root: str | None = None
    version: str | None = None
    run_name: str | None = None
    needs: Needs | None = None
    has_lines: bool = False


Upstreams = Mapping[str, SettledRun]
"""How the runs ended that another one waited for, by their ids."""

CANCEL_MESSAGE = "cancelled on request"
"""Kept with a cancelled run's state when the caller gives no reason."""


class CancelResult(StrEnum):
    """What came of asking for a run's end."""

    NEVER_STARTS = "never starts"
    """It waited, and will not be executed."""
    INTERRUPTED = "interrupted"
    """It executes and is being ended."""
    ASKED = "asked"
    """It executes and was asked to end; it continues until its code checks for cancellation."""
    ALREADY_OVER = "already over"
    """It had ended before."""
    NOT_FOUND = "not found"
    """It waits on no queue, and no worker that answers holds it."""


@dataclass(frozen=True, slots=True)
class CancelAnswer:
    """What came of asking for a run's end.

    Attributes:
        run_id: The run.
        result: What came of it.
        state: The final state; None while it is not known.
    """

    run_id: str
    result: CancelResult
    state: State | None = None
