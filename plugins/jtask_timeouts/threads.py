"""Interrupt a plain function in the thread that executes it.

Python can raise an exception in another thread, which gets it when it next executes Python code.
The whole difficulty is that it must never get it after it has left the function: then it would hit
whatever the thread does next. See `_execute`.
"""

import ctypes
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from jtask.errors import RunCancelled
from jtask_timeouts.deadlines import Step, TimedSteps, get_deadlines
from jtask_timeouts.interrupts import HardInterrupt, SoftInterrupt
from jtask_timeouts.limits import GRACE_SECONDS, NO_LIMITS, Limits, began, steps_ahead
from jtask_timeouts.main_thread import Interruption, interrupt_main, takes_signals
from jtask_timeouts.moments import PATIENCE, is_right
from jtask_timeouts.stacks import frame_of_thread, stack_of_thread
from jtask_timeouts.verdict import Interruptions, conclude

if TYPE_CHECKING:
    from jtask.runtime import RunContext


_set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
# Without this, ctypes would pass an int, and cut off half of a thread's number.
_set_async_exc.argtypes = (ctypes.c_ulong, ctypes.py_object)


def call_in_thread(
    run: "RunContext", limits: Limits, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call a plain task's function in this thread, within its limits and until it is cancelled.

    Args:
        run: What is to be executed.
        limits: Those of its task.
        args: Positional arguments.
        kwargs: Keyword arguments.

    Returns:
        Any: What the function returned.

    Raises:
        RunTimedOut: The hard limit is over.
        RunCancelled: Somebody cancelled the run.
        RunAbandoned: The run ended without the function, which has returned by now.
        BaseException: What the function raised.
    """
    watch = ThreadWatch(run, limits)
    values: list[Any] = []
    raised: BaseException | None = None
    # Set before `cancelled` is looked at: whoever cancels does it the other way round, so one of
    # the two sees it.
    run.on_cancel = watch.cancel
    try:
        if run.cancelled is not None:
            raise RunCancelled(run.cancelled)
        _execute(watch, values, args, kwargs)
    except BaseException as error:
        raised = error
    run.on_cancel = None
    try:
        return conclude(limits, watch.done, values, raised)
    finally:
        raised = None  # a frame that holds an exception that holds the frame lives for long


class ThreadWatch:
    """Interrupts one thread for one run, in the thread of the deadlines.

    Args:
        run: What the calling thread is about to execute.
        limits: Those of its task.
    """

    __slots__ = (
        "_at_cancel",
        "_by_signal",
        "_ident",
        "_is_closed",
        "_lock",
        "_run",
        "done",
        "limits",
        "steps",
    )

    def __init__(self, run: "RunContext", limits: Limits) -> None:
        self._run = run
        self.limits = limits
        self.done = Interruptions()
        self._ident = threading.get_ident()
        self._by_signal = takes_signals()
        self._lock = threading.Lock()
        self._at_cancel: TimedSteps | None = None
        self.steps = TimedSteps(
            [] if limits is NO_LIMITS else steps_ahead(run, self._at_limits(began(run)))
        )
        self._is_closed = False

    @property
    def over(self) -> bool:
        """Whether nothing may be raised any more."""
        return self.steps.over

    def function(self) -> Callable[..., Any]:
        """Return what to execute."""
        return self._run.function

    def close(self) -> None:
        """Have nothing raised any more, what was not delivered yet included."""
        if self._is_closed:
            return
        # The lock is held while an exception is set too, so none is set after this.
        with self._lock:
            self._end_steps()
        if (self.done.soft or self.done.hard) and not self._by_signal:
            _take_undelivered(self._ident)
        self._is_closed = True

    def cancel(self) -> None:
        """Interrupt the function unless it ends by itself within a grace; on the I/O thread."""
        # Else its worker wants the run back in order to stop: threads are left behind then.
        if self._run.cancelled is None:
            return
        now = time.monotonic()
        due = ((GRACE_SECONDS, self._at_cancellation), (2 * GRACE_SECONDS, self._leave_behind))
        with self._lock:
            if not self.over:
                self._at_cancel = TimedSteps([Step(now + after, action) for after, action in due])
                get_deadlines().add(self._at_cancel)

    def _end_steps(self) -> None:
        self.steps.end()
        if self._at_cancel is not None:
            self._at_cancel.end()

    def _at_limits(self, now: float) -> "list[Step]":
        limits, steps = self.limits, list[Step]()
        if limits.report is not None:
            steps.append(Step(now + limits.report, self._report_stack))
        if limits.soft is not None:
            steps.append(Step(now + limits.soft, self._at_soft_limit))
        if limits.hard is not None:
            steps.append(Step(now + limits.hard, self._at_hard_limit))
            steps.append(Step(now + limits.hard + GRACE_SECONDS, self._leave_behind))
        return steps

    def _report_stack(self) -> None:
        with self._lock:
            if not self.over:
                stack = stack_of_thread(self._ident, _execute.__code__)
                self._run.note(self.limits.note(stack))

    def _at_soft_limit(self) -> None:
        with self._lock:
            if not self.over:
                self.done.soft = True
                self._interrupt(SoftInterrupt, time.monotonic() + PATIENCE)

    def _at_hard_limit(self) -> None:
        with self._lock:
            self._end()

    def _at_cancellation(self) -> None:
        with self._lock:
            if not self.over and not self.done.hard:
                self.done.cancelled = self._run.cancelled
            self._end()

    def _end(self) -> None:
        # Once: `_execute` can take one such interruption.
        if not self.over and not self.done.hard:
            self.done.hard = True
            self._interrupt(HardInterrupt, time.monotonic() + PATIENCE)

    def _interrupt(self, kind: type[BaseException], latest: float) -> None:
        postpone = partial(get_deadlines().call_soon, partial(self._try_again, kind, latest))
        # A signal where it is possible: it ends a `time.sleep` too, which the exception waits for.
        if self._by_signal:
            interrupt_main(Interruption(self.steps, kind, latest, postpone))
        # Nothing else is executed between the look and the exception: this thread has just got the
        # GIL, and keeps it for longer than that.
        elif is_right(frame_of_thread(self._ident), latest, by_signal=False):
            _set_async_exc(self._ident, kind)
        else:
            postpone()

    def _try_again(self, kind: type[BaseException], latest: float) -> None:
        with self._lock:
            # One that was to clean up is being ended by now.
            is_outdated = kind is SoftInterrupt and self.done.hard
            if not self.over and not is_outdated:
                self._interrupt(kind, latest)

    def _leave_behind(self) -> None:
        with self._lock:
            if self.over or self._run.abandon is None:
                return
            self.done.abandoned = True
            self._end_steps()
            self._run.abandon(self.done.end(self.limits))


class _Undelivered(BaseException):
    """Raised in place of an interruption that has come too late."""


def _take_undelivered(ident: int) -> None:
    """Let what is set for this thread and was not raised yet end here.

    It is replaced, and the replacement is awaited. NULL would clear it too, but CPython 3.11 then
    keeps the flag up that has every thread of the process look for an exception: code that is
    traced, by a debugger or for coverage, never gets past the start of the next function.
    """
    try:
        _set_async_exc(ident, _Undelivered)
        while True:
            pass  # at a jump back Python looks
    except _Undelivered:
        return


def _execute(
    watch: ThreadWatch, values: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Call the function, and close the watch whatever happens.

    At most two interruptions come: one soft, one hard. Each can spoil one `close`, for it may be
    raised inside of it; so the third cannot fail. Nothing between the calls can be interrupted
    outside a `try`: Python looks for exceptions from other threads, and for signals, at calls and
    at jumps back only.
    """
    try:
        try:
            try:
                if watch.steps.next():
                    get_deadlines().add(watch.steps)
                values.append(watch.function()(*args, **kwargs))
            finally:
                watch.close()
        finally:
            watch.close()
    finally:
        watch.close()
