"""One submitted run, from its call to its end: what the task runners of this process execute."""

import asyncio
import contextlib
import importlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, Protocol, cast

from jtask.declaration.binding import bind_arguments
from jtask.declaration.task_info import TaskInfo
from jtask.errors import JTaskError
from jtask.execution.attempt import Result, finish, run_attempt
from jtask.execution.awaited_futures import AwaitedFutures, find_awaited
from jtask.execution.contexts import FreshContexts
from jtask.execution.direct_call import (
    attempt_when_ready,
    begin,
    hooks_for,
    pause_after,
    record_end,
    resume,
)
from jtask.execution.loop_thread import LoopThread
from jtask.execution.one_per_process import OnePerProcess
from jtask.execution.sync_await import run_sync
from jtask.futures.future import Future
from jtask.futures.submitted_run import SubmittedRun, wait_for_all
from jtask.lifecycle import Finish, Reschedule, describe
from jtask.outcomes import CancelResult, Outcome
from jtask.runtime import RunContext, current_run
from jtask.runtime.blocking import add_wait, remove_wait
from jtask.states import State, StateName
from jtask.task_runners.threads import in_thread

Invoke = Callable[[RunContext], Callable[..., Any]]
_timers = OnePerProcess(lambda: LoopThread("jtask-timers"), LoopThread.stop)
_log = logging.getLogger("jtask")


class Call(NamedTuple):
    """What is to be run.

    Attributes:
        task: The task.
        args: Positional arguments, of a method what it is bound to first.
        kwargs: Keyword arguments.
        wait_for: Runs that have to complete first.
        begin_recording: See `jtask.execution.direct_call.call`.
    """

    task: TaskInfo[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - never changed
    wait_for: Iterable[Any] | None = None
    begin_recording: Callable[[], None] | None = None


class Pool(Protocol):
    """Where submitted runs are executed."""

    def start(self, run: "Submitted") -> None:
        """Have an attempt of a run made as soon as there is a place for it; returns at once.

        Args:
            run: The run; `execute_in_thread` or `execute_on_loop` makes the attempt.
        """
        ...


class Submitted:
    """One submitted run; begins at once, or when what it waits for is over.

    A run that waits for others, for a place, or for its next attempt holds neither a thread nor a
    place.

    Args:
        call: What to run.
        pool: Where.
        invoke: What executes the function; None for the function itself.

    Raises:
        ArgumentError: The arguments do not fit the signature.
        RunDeadlock: The run would wait for one that waits for it.

    Attributes:
        future: The caller's handle.
    """

    def __init__(self, call: Call, pool: Pool, invoke: Invoke | None = None) -> None:
        task = call.task
        bind_arguments(task.name, task.signature, call.args, call.kwargs)
        self._pool = pool
        self._awaited = find_awaited(call.args, call.kwargs, call.wait_for)
        self.run = begin(
            task, call.args, call.kwargs, call.begin_recording, blocking=not task.is_async
        )
        self.run.is_submitted, self.run.submitter = True, current_run()
        hooks = hooks_for(self.run)
        self._hooks = hooks if invoke is None else hooks.invoking(invoke)
        self._contexts = FreshContexts()
        self._lock = threading.Lock()
        self._is_waiting = True
        self._interrupt: Callable[[], object] | None = None
        self.future: SubmittedRun[Any] = SubmittedRun(self.run, self._cancel)

    def begin(self) -> None:
        """Let it begin; returns at once."""
        awaited = self._awaited
        unfinished = [] if awaited is None else [one for one in awaited.futures if not one.done()]
        if awaited is None or not unfinished:
            self._start()
            return
        ids = tuple(one.run_id for one in unfinished)
        try:
            add_wait(self.run.run_id, ids)
        except JTaskError as error:
            self._settle(self._given_up(error))
            raise
        over = _Countdown(len(unfinished), partial(self._upstreams_over, ids))
        for one in unfinished:
            if not one.notify(partial(self._upstream_over, awaited, one, over)):
                over.count()

    def execute_in_thread(self) -> None:
        """Make an attempt in this thread, unless the run was cancelled meanwhile."""
        if not self._claim():
            return
        try:
            result = self._contexts.new().run(self._attempt_in_thread)
        except BaseException as error:
            result = self._given_up(error)
        self._attempted(result)

    async def execute_on_loop(self) -> None:
        """Make an attempt on this loop, unless the run was cancelled meanwhile."""
        if not self._claim():
            return
        try:
            result = await self._attempt()
        except BaseException as error:
            result = self._given_up(error)
        self._attempted(result)

    def give_up(self, error: BaseException) -> None:
        """End it with what has kept it from being executed; from any thread."""
        if self._claim():
            self._settle(self._given_up(error))

    def _upstream_over(
        self,
        awaited: AwaitedFutures,
        future: Future[Any],
        over: "_Countdown",
        trouble: JTaskError | None,
    ) -> None:
        if trouble is not None:
            awaited.troubles[future] = trouble
        over.count()

    def _upstreams_over(self, ids: tuple[str, ...]) -> None:
        remove_wait(self.run.run_id, ids)
        self._start()

    def _start(self) -> None:
        try:
            self._pool.start(self)
        except Exception as error:  # the machine gives no more threads, or the process is ending
            self.give_up(error)

    def _claim(self) -> bool:
        with self._lock:
            is_mine, self._is_waiting = self._is_waiting, False
            return is_mine

    def _attempt_in_thread(self) -> Result:
        if self.run.task.is_async:
            return asyncio.run(self._attempt())
        result: Result = run_sync(self._attempt())
        return result

    async def _attempt(self) -> Result:
        run, hooks = self.run, self._hooks
        # Before `cancelled` is looked at: whoever cancels does it the other way round.
        if run.task.is_async:
            self._interrupt = self._interrupter()
        if run.cancelled is not None:
            return await finish(run, hooks, Finish(StateName.CANCELLED, run.cancelled))
        resume(run)
        awaited, self._awaited = self._awaited, None
        if awaited is None:
            return await run_attempt(run, hooks)
        return await attempt_when_ready(run, hooks, awaited)

    def _interrupter(self) -> Callable[[], object]:
        loop, task, run = asyncio.get_running_loop(), asyncio.current_task(), self.run

        def interrupt() -> None:
            if task is not None and not (run.state and run.state.is_final()):
                task.cancel()

        return partial(loop.call_soon_threadsafe, interrupt)

    def _attempted(self, result: Result) -> None:
        self._interrupt = None
        if isinstance(result, Outcome):
            self._settle(result)
        elif isinstance(result, Reschedule):
            self._try_again(result)
        else:
            self._settle(self._given_up(RuntimeError("a submitted run was released")))

    def _try_again(self, result: Reschedule) -> None:
        pause = pause_after(self.run, result)
        with self._lock:
            self._is_waiting = True
        if pause <= 0 or self.run.cancelled is not None:
            self._start()
            return
        timers = _timers.get().loop
        timers.call_soon_threadsafe(timers.call_later, pause, self._start)

    def _cancel(self, message: str) -> CancelResult:
        with self._lock:
            if self.future.done():
                return CancelResult.ALREADY_OVER
            self.run.cancelled = message
            is_waiting, self._is_waiting = self._is_waiting, False
        if is_waiting:
            in_thread(self._end_unstarted)
            return CancelResult.NEVER_STARTS
        is_interrupted = self.run.cancel(message)
        if (interrupt := self._interrupt) is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended a moment ago
                interrupt()
            is_interrupted = True
        return CancelResult.INTERRUPTED if is_interrupted else CancelResult.ASKED

    def _end_unstarted(self) -> None:
        with self._lock:
            self._is_waiting = True
        self.execute_in_thread()

    def _settle(self, outcome: Outcome) -> None:
        record_end(self.run, outcome)
        self.run.let_go()
        self.future.resolve(outcome)

    def _given_up(self, error: BaseException) -> Outcome:
        """Return the end of a run that no attempt has told."""
        cancelled = self.run.cancelled
        if cancelled is not None and isinstance(error, asyncio.CancelledError):
            return Outcome(State(StateName.CANCELLED, time.time(), cancelled))
        _log.error("run %s could not be executed", self.run.run_id, exc_info=error)
        message = f"jtask could not execute the run: {describe(error)}"
        state = State(StateName.CRASHED, time.time(), message, data=error)
        return Outcome(state, error=error)


class _Countdown:
    """Call a function when something has happened so many times; from any thread."""

    def __init__(self, left: int, done: Callable[[], object]) -> None:
        self._left = left
        self._done = done
        self._lock = threading.Lock()

    def count(self) -> None:
        with self._lock:
            self._left -= 1
            is_done = self._left == 0
        if is_done:
            self._done()


def _finish_at_program_end() -> None:
    # Before the executors of the interpreter end, which a run may use. Python has no public way to
    # say so; what is registered last is called first, and executors are by this import.
    importlib.import_module("concurrent.futures.thread")
    register = cast("Callable[..., Any] | None", getattr(threading, "_register_atexit", None))
    with contextlib.suppress(RuntimeError):  # the process is ending
        if register is not None:
            register(wait_for_all)


_finish_at_program_end()
