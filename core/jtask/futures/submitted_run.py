"""Handles of runs that are executed by a task runner of this process, or for it."""

import asyncio
import logging
import os
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any, TypeVar, cast

from jtask.declaration.task_info import is_internal
from jtask.futures.future import Future
from jtask.outcomes import CANCEL_MESSAGE, CancelAnswer, CancelResult, Outcome, SettledRun
from jtask.runtime import RunContext
from jtask.runtime.settled_runs import settled_run
from jtask.states import ERROR_OF, State, StateName

R = TypeVar("R")
Cancel = Callable[[str], CancelResult]
"""Ends a run that is not known to be over; takes why, and returns at once."""
_TO_TELL = frozenset({StateName.FAILED, StateName.TIMED_OUT, StateName.CRASHED})
_FORKED = "it is executed by the process that this one was forked from"
_INTERNAL = frozenset({"lose", "loop", "note_asked", "resolve"})
_log = logging.getLogger("jtask")

_known: "weakref.WeakValueDictionary[str, SubmittedRun[Any]]" = weakref.WeakValueDictionary()
# Those that are not over, which nobody else may hold.
_open: "dict[str, SubmittedRun[Any]]" = {}
_is_left = False  # whether the end of the program waits for none of them


class SubmittedRun(Future[R]):
    """A run that a task runner executes; returned by `.submit()`.

    Its value is the very object that the task returned, its exception the one that it raised.

    Args:
        run: What the task sees of it.
        cancel: Ends it.
    """

    __slots__ = ("_cancel", "_is_seen", "_run", "loop")
    _end: Outcome | None

    def __init__(self, run: RunContext, cancel: Cancel) -> None:
        super().__init__(run.run_id)
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop that executes it; None where a thread does. For its task runner only."""
        self._run = run
        self._cancel: Cancel | None = cancel
        self._is_seen = False  # whether anybody has asked how it ended
        _known[run.run_id] = _open[run.run_id] = self

    def __repr__(self) -> str:
        state = self._run.state if self._end is None else self._end.state
        return f"<run {self.run_id} of {self._run.task_name!r} {state.name if state else ''}>"

    def __del__(self) -> None:
        end: Outcome | None = getattr(self, "_end", None)
        if end is not None and end.state.name in _TO_TELL and not self._is_seen:
            _log.error(
                "run %s of task %s has failed, and nobody has asked how it ended: %s",
                self.run_id,
                self._run.task_name,
                end.state.message,
                exc_info=end.error,
            )

    def __dir__(self) -> list[str]:
        # What a console completes: not what only jtask itself uses.
        return [name for name in super().__dir__() if not is_internal(name, _INTERNAL)]

    @property
    def state(self) -> State:
        """Where the run stands now.

        Of a final one, `state.result()` returns the run's value or raises its exception.
        """
        if self._end is None:
            return cast("State", self._run.state)
        self._is_seen = True
        return self._end.state

    async def state_async(self) -> State:
        """Do what `state` does; neither blocks."""
        return self.state

    @property
    def info(self) -> SettledRun | None:
        """Everything that is known about the run; None until it is over."""
        return None if self._end is None else settled_run(self._run, self._end)

    def cancel(self, message: str = CANCEL_MESSAGE) -> CancelAnswer:
        """End the run; see `jtask.futures.Future.cancel`."""
        cancel = self._cancel
        result = CancelResult.ALREADY_OVER if cancel is None else cancel(message)
        return CancelAnswer(self.run_id, result, self.state if self.done() else None)

    async def cancel_async(self, message: str = CANCEL_MESSAGE) -> CancelAnswer:
        """Do what `cancel` does without blocking the event loop."""
        return await asyncio.to_thread(self.cancel, message)

    def resolve(self, outcome: Outcome) -> None:
        """Take the run's end; for its task runner only."""
        self._cancel = None  # which leads to what executed it
        # First: whoever is woken may ask whether all are over.
        _open.pop(self.run_id, None)
        self._settle(outcome)

    def note_asked(self) -> None:
        """Take note that somebody has asked how the run ended or will end; for lists only."""
        self._is_seen = True

    def lose(self) -> None:
        """End the handle in a forked process, where nobody executes the run."""
        # Without callbacks: what they belong to is not in this process either.
        self._end = Outcome(State(StateName.CRASHED, time.time(), _FORKED))
        self._is_seen = True
        self._cancel = None

    def _value(self, raise_on_failure: bool) -> R:
        outcome = cast("Outcome", self._end)
        if outcome.successful:
            return cast("R", outcome.value)
        error = cast("BaseException", self._error())
        if not raise_on_failure:
            return cast("R", error)
        try:
            raise error
        finally:
            del error, outcome  # the exception holds this frame

    def _explanation(self) -> str:
        return self._needs_this_loop()

    def _needs_this_loop(self) -> str:
        if self.loop is None or asyncio._get_running_loop() is not self.loop:
            return ""
        return "executes on this event loop, which is blocked meanwhile: use `await run`"

    def _error(self) -> BaseException | None:
        outcome = cast("Outcome", self._end)
        self._is_seen = True
        if outcome.successful:
            return None
        # Whoever awaits the run would take its CancelledError for an own one.
        if outcome.error is None or isinstance(outcome.error, asyncio.CancelledError):
            return ERROR_OF[outcome.state.name](outcome.state.message or None)
        return outcome.error


def find_submitted(run_id: str) -> SubmittedRun[Any] | None:
    """Return the handle of a run that a task runner of this process has; None without one."""
    return _known.get(run_id)


def wait_for_all() -> None:
    """Block until no submitted run of this process is left, also none that others submit.

    For the end of the program; one that Ctrl-C has ended does not go on with its runs, nor one that
    has left them.
    """
    while _open and not _is_left and not _was_interrupted():
        for future in list(_open.values()):
            future.wait()


def open_runs() -> list[SubmittedRun[Any]]:
    """Return the submitted runs of this process that are not over."""
    return list(_open.values())


def leave_all() -> None:
    """Have the program end although submitted runs go on, those that come included."""
    global _is_left
    _is_left = True


def _was_interrupted() -> bool:
    # What the program ended with; a console keeps there what happened at any time.
    kind: object = None if hasattr(sys, "ps1") else getattr(sys, "last_type", None)
    return isinstance(kind, type) and issubclass(kind, KeyboardInterrupt)


def _forget_after_fork() -> None:
    global _is_left
    for future in list(_open.values()):
        future.lose()
    _open.clear()
    _is_left = False


os.register_at_fork(after_in_child=_forget_after_fork)
