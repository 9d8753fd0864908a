"""Interrupt a coroutine at its await."""

import asyncio
import math
import threading
import time
import types
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any

from jtask_timeouts.deadlines import Step, TimedSteps, get_deadlines
from jtask_timeouts.interrupts import SoftInterrupt
from jtask_timeouts.limits import GRACE_SECONDS, Limits, began, steps_ahead
from jtask_timeouts.stacks import stack_of_coroutine
from jtask_timeouts.verdict import Interruptions, conclude

if TYPE_CHECKING:
    from jtask.runtime import RunContext


async def call_on_loop(
    run: "RunContext", limits: Limits, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Await an asynchronous task's function on this loop, within its limits.

    Args:
        run: What is to be executed.
        limits: Those of its task.
        args: Positional arguments.
        kwargs: Keyword arguments.

    Returns:
        Any: What the function returned.

    Raises:
        RunTimedOut: The hard limit is over.
        RunAbandoned: The run ended without the function, which has returned by now.
        BaseException: What the function raised, a cancellation by others included.
    """
    watch = CoroutineWatch(run, limits, run.function(*args, **kwargs))
    get_deadlines().add(watch.steps)
    return await watch.wait()


class _SoftCancelledError(SoftInterrupt, asyncio.CancelledError):
    """What is thrown into a coroutine at its soft limit.

    Both, because a task group or `wait_for` that is interrupted while it waits ends its children on
    a CancelledError only, while the task itself waits for a SoftTimeout.
    """


class CoroutineWatch:
    """Interrupts one coroutine; its steps are called in the thread of the deadlines.

    Args:
        run: What is about to be awaited in the current asyncio task.
        limits: Those of its task.
        coroutine: What its function returned.
    """

    __slots__ = (
        "_cancels_before",
        "_coroutine",
        "_done",
        "_hard_at",
        "_ident",
        "_limits",
        "_loop",
        "_run",
        "_soft_owed",
        "_soft_pending",
        "_task",
        "steps",
    )

    def __init__(
        self, run: "RunContext", limits: Limits, coroutine: Coroutine[Any, Any, Any]
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._run = run
        self._limits = limits
        self._coroutine = coroutine
        self._loop = asyncio.get_running_loop()
        self._ident = threading.get_ident()
        self._task = task
        # What others have requested before counts as theirs, not as ours.
        self._cancels_before = task.cancelling()
        self._soft_pending = self._soft_owed = False
        self._done = Interruptions()
        now = began(run)
        self._hard_at = math.inf if limits.hard is None else now + limits.hard
        self.steps = TimedSteps(steps_ahead(run, self._at_limits(now)))

    async def wait(self) -> Any:
        """Await the coroutine and return its value, or raise what the attempt ends with."""
        values: list[Any] = []
        raised: BaseException | None = None
        try:
            values.append(await _resumed(self._coroutine, self._translated, self._make_up))
        except BaseException as error:
            raised = error
        self.steps.end()
        # Our own request is taken back: a task that still counts as cancelled would end the
        # `asyncio.timeout` or the task group that a plugin has around the function.
        cancelled = isinstance(raised, asyncio.CancelledError)
        if self._done.hard and self._task.uncancel() > self._cancels_before and cancelled:
            # Somebody else cancelled it too, and waits for that.
            assert raised is not None
            raise raised
        # It may have held up the loop, on which it would have been interrupted.
        if not cancelled and time.monotonic() >= self._hard_at:
            self._done.hard = True
        try:
            return conclude(self._limits, self._done, values, raised)
        finally:
            raised = None  # a frame that holds an exception that holds the frame lives for long

    def _at_limits(self, now: float) -> list[Step]:
        limits, steps = self._limits, list[Step]()
        if limits.report is not None:
            steps.append(Step(now + limits.report, self._report_stack))
        if limits.soft is not None:
            steps.append(Step(now + limits.soft, self._on_loop(self._at_soft_limit)))
        if limits.hard is not None:
            steps.append(Step(now + limits.hard, self._on_loop(self._at_hard_limit)))
            steps.append(Step(now + limits.hard + GRACE_SECONDS, self._on_loop(self._leave_behind)))
        return steps

    def _on_loop(self, act: Callable[[], None]) -> Callable[[], None]:
        # The steps come in another thread. By the time the loop gets to them the function may have
        # returned, so each looks at `over` again.
        def post() -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(act)

        return post

    def _report_stack(self) -> None:
        stack = stack_of_coroutine(self._coroutine, self._ident, _resumed.__code__)
        if not self.steps.over:
            self._run.note(self._limits.note(stack))

    def _at_soft_limit(self) -> None:
        if not self.steps.over:
            self._soft_pending = self._done.soft = True
            self._task.cancel()

    def _at_hard_limit(self) -> None:
        if not self.steps.over:
            self._done.hard = True
            self._task.cancel()

    def _leave_behind(self) -> None:
        # In a direct call nobody else could carry on: it ends when its function does.
        if self.steps.over or self._run.abandon is None:
            return
        self._done.abandoned = True
        self.steps.end()
        self._run.abandon(self._limits.hard_timeout())

    def _translated(self, error: BaseException | None) -> BaseException | None:
        """Return what to throw into the coroutine for what its asyncio task got, if anything.

        It got nothing although it was cancelled where the task that it waits for has swallowed it.
        """
        if not self._soft_pending or not isinstance(error, asyncio.CancelledError | None):
            return error
        self._soft_pending = False
        # As if it had never been cancelled, unless it has been by others.
        if self._task.uncancel() > self._cancels_before:
            self._soft_owed = True
            return error
        return _SoftCancelledError(str(self._limits.soft_timeout()))

    def _make_up(self) -> None:
        """Raise what is owed, once others have taken their cancellation back as a timeout does."""
        if self._soft_owed and self._task.cancelling() <= self._cancels_before:
            self._soft_owed = False
            self._at_soft_limit()


@types.coroutine
def _resumed(
    coroutine: Coroutine[Any, Any, Any],
    translated: Callable[[BaseException | None], BaseException | None],
    before_wait: Callable[[], None],
) -> Generator[Any, Any, Any]:
    """Await a coroutine, and change what is thrown into it on the way.

    Done by hand, step by step, for `await` passes on what is thrown without asking anybody.
    """
    thrown: BaseException | None = None
    while True:
        try:
            waited = coroutine.send(None) if thrown is None else coroutine.throw(thrown)
        except StopIteration as stop:
            return stop.value
        finally:
            thrown = None  # it holds this frame
        before_wait()
        try:
            yield waited
        except BaseException as error:
            thrown = translated(error)
        else:
            thrown = translated(None)
