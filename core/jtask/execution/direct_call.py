"""Call a task here and now, through the same engine as a worker."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from jtask.annotations import StandIns
from jtask.declaration.task_info import TaskInfo
from jtask.execution.attempt import Result, run_attempt
from jtask.execution.awaited_futures import AwaitedFutures, fill_in, find_awaited
from jtask.execution.recording import may_be_recorded
from jtask.execution.sync_await import run_sync
from jtask.ids import get_run_ids, process_label
from jtask.lifecycle import Release, Reschedule
from jtask.outcomes import Outcome
from jtask.plugins import TaskHooks, hooks_of
from jtask.runtime import RunContext, call_headers, current_run
from jtask.runtime.flow_runs import flow_run_of
from jtask.states import ERROR_OF, State, StateName
from jtask.tagging import tags_of_run
from jtask.wire.history import remember

_PARKED_SECONDS = 0.1  # between two tries of a call that would be parked
_log = logging.getLogger("jtask")
LOOK_SECONDS = 10.0
"""How long a process whose direct calls are not recorded does not look whether they can be."""


def call(
    task: TaskInfo[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    begin_recording: Callable[[], None] | None = None,
    *,
    wait_for: Iterable[Any] | None = None,
    return_state: bool = False,
) -> Any:
    """Execute a run in this thread, with its retries, and return its value.

    Args:
        task: The task.
        args: Positional arguments; they are not checked against the annotations.
        kwargs: Keyword arguments.
        begin_recording: Called now and then while direct calls are not recorded but may be; it
            calls `record`.
        wait_for: Runs that have to complete first.
        return_state: Return the final state, and raise nothing.

    Raises:
        RunFailed: It ended without an exception of its own, such as cancelled or refused.
        RunNotReady: Something that it waited for did not complete.
        BaseException: What the function raised in its last attempt.
    """
    run = begin(task, args, kwargs, begin_recording, blocking=True, caller=current_run())
    hooks = hooks_for(run)
    awaited = find_awaited(args, kwargs, wait_for)
    while True:
        result: Result = run_sync(attempt_of(run, hooks, awaited))
        if isinstance(result, Outcome):
            record_end(run, result)
            run.let_go()
            try:
                return _state_of(result) if return_state else value_of_end(result)
            finally:
                del result  # it holds the exception that holds this frame
        awaited = None  # a retry has its arguments
        time.sleep(pause_after(run, result))  # it waits here: the caller wants the value
        resume(run)


async def call_async(
    task: TaskInfo[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    begin_recording: Callable[[], None] | None = None,
    *,
    wait_for: Iterable[Any] | None = None,
    return_state: bool = False,
) -> Any:
    """Do what `call` does on this event loop, without blocking it."""
    run = begin(task, args, kwargs, begin_recording, blocking=False, caller=current_run())
    hooks = hooks_for(run)
    awaited = find_awaited(args, kwargs, wait_for)
    while True:
        result = await attempt_of(run, hooks, awaited)
        if isinstance(result, Outcome):
            record_end(run, result)
            run.let_go()
            try:
                return _state_of(result) if return_state else value_of_end(result)
            finally:
                del result  # it holds the exception that holds this frame
        awaited = None
        await asyncio.sleep(pause_after(run, result))
        resume(run)


def attempt_of(
    run: RunContext, hooks: TaskHooks, awaited: AwaitedFutures | None
) -> Coroutine[Any, Any, Result]:
    """Return the coroutine of one attempt, which first waits for what the run waits for."""
    if awaited is None:
        return run_attempt(run, hooks)
    return attempt_when_ready(run, hooks, awaited)


async def attempt_when_ready(run: RunContext, hooks: TaskHooks, awaited: AwaitedFutures) -> Result:
    """Perform the first attempt of a run once what it waits for is over.

    Args:
        run: The run, in state Pending.
        hooks: Those of its task.
        awaited: What it waits for.
    """
    not_ready = await fill_in(run, hooks, awaited)
    return await run_attempt(run, hooks) if not_ready is None else not_ready


def begin(
    task: TaskInfo[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    begin_recording: Callable[[], None] | None,
    *,
    blocking: bool,
    caller: RunContext | None = None,
) -> RunContext:
    """Return a run that this process executes without a broker, in state Pending.

    Args:
        task: The task.
        args: Positional arguments.
        kwargs: Keyword arguments.
        begin_recording: See `call`.
        blocking: Whether its thread has no event loop to await hooks with.
        caller: The run that waits for it, and does nothing else meanwhile.

    Raises:
        ConfigurationError: A plugin cannot be loaded.
    """
    hooks_of(task)  # or raise before anything is begun, and told or recorded as such
    parent, now = current_run(), time.time()
    if _emit is None and begin_recording is not None and now >= _look_at:
        _look(begin_recording)
    run = RunContext(
        run_id=get_run_ids().new(),
        task=task,
        created_at=now,
        tags=tags_of_run(task.tags),
        version=task.version,
        parent_id=None if parent is None else parent.run_id,
        root_id=None if parent is None else parent.root_id or parent.run_id,
        worker=process_label(),
        headers=call_headers.get(),
        args=args,
        kwargs=kwargs,
        blocking=blocking,
        on_state=_emit_if_connected,
        caller=caller,
        # One that is called finds it with its callers.
        submitted_in=None if caller is parent else flow_run_of(parent),
    )
    run.enter(StateName.PENDING)
    _open[run.run_id] = now
    return run


def open_since(run_id: str) -> float | None:
    """Return when a run of this process has begun that is not over; None if there is no such."""
    return _open.get(run_id)


def hooks_for(run: RunContext) -> TaskHooks:
    """Return the hooks that concern a run of this process."""
    hooks = hooks_of(run.task)
    return hooks.concerning(run.headers) if run.headers else hooks


def record_end(run: RunContext, outcome: Outcome) -> None:
    """Have the end of a run stored where others can look it up, if anybody stores such ends."""
    if outcome.is_open:
        # Once it is known; and if that was just now, by another thread, below.
        outcome.when_settled = partial(record_end, run, outcome)
    if not outcome.is_open:
        store = _store  # another thread may disconnect
        if store is not None:
            store(run, outcome)
        # Last: whoever is told of its end looks who has it.
        _open.pop(run.run_id, None)


def pause_after(run: RunContext, result: Reschedule | Release) -> float:
    """Take note of how an attempt ended; return the seconds until the next one."""
    if isinstance(result, Release):
        # Only a stopping worker releases a run.
        raise RuntimeError("a direct call was released")
    if result.new_attempt:
        run.history = remember(run.history, run.end_attempt(result.message))
        run.attempt += 1
    pause = max(0.0, result.at - time.time())
    # Nobody can wake it: it is on no queue.
    return pause if result.park is None else min(pause, _PARKED_SECONDS)


def resume(run: RunContext) -> None:
    """Let a run go on to its next attempt."""
    if run.state is not None and run.state.name is StateName.SCHEDULED:
        run.enter(StateName.PENDING)


def _state_of(outcome: Outcome) -> State:
    StandIns.exist = True  # it may be an argument of another run
    return outcome.state


def value_of_end(outcome: Outcome) -> Any:
    """Return the value that a run ended with, or raise its exception."""
    if outcome.successful:
        return outcome.value
    if (error := outcome.error) is not None:
        try:
            # The very exception: the caller's traceback shows where the function raised it.
            raise error
        finally:
            # It holds this frame, and would hold itself with it.
            del error, outcome
    raise ERROR_OF[outcome.state.name](outcome.state.message)


OnState = Callable[[RunContext, State], None]
OnEnd = Callable[[RunContext, Outcome], None]
_emit: OnState | None = None
_store: OnEnd | None = None
_look_at = 0.0
# A signal handler may interrupt the look of the same thread.
_look_lock = threading.RLock()
_is_looking = False
# Not the runs: one whose call is torn down by what is no Exception stays in here.
_open: dict[str, float] = {}


def record(emit: OnState, store: OnEnd) -> None:
    """Say who gets the states and the ends of direct calls from now on; neither may block or raise.

    A registry, because a direct call must not connect the process: the client registers itself
    once it is connected.
    """
    global _store
    on_state(emit)
    _store = store


def is_recorded_by(emit: OnState) -> bool:
    """Tell whether this is who gets the states of direct calls now."""
    return emit == _emit


def stop_recording(emit: OnState | None = None) -> None:
    """Record no direct calls any more.

    Args:
        emit: Only if this is who gets the states now.
    """
    global _store, _look_at
    if emit is None or is_recorded_by(emit):
        on_state(None)
        _store = None
        _look_at = time.time() + LOOK_SECONDS


def _look(begin_recording: Callable[[], None]) -> None:
    global _look_at, _is_looking
    # The calls of other threads would be over, and not recorded, before this one knows.
    with _look_lock:
        if _is_looking or _emit is not None or time.time() < _look_at:
            return
        _is_looking = True
        try:
            if may_be_recorded():
                begin_recording()
        except Exception as error:  # a setting that is wrong, say: the call does without it
            _log.warning("direct calls are not recorded: %s", error)
        finally:
            _is_looking = False
            _look_at = time.time() + LOOK_SECONDS


def on_state(emit: OnState | None) -> None:
    """Say who gets the states of direct calls from now on; None is nobody."""
    global _emit
    _emit = emit


def _emit_if_connected(run: RunContext, state: State) -> None:
    emit = _emit  # another thread may disconnect
    if emit is not None:
        emit(run, state)


def _disconnect_after_fork() -> None:
    # The client it leads to is the parent's, whose threads do not exist here.
    global _look_at, _look_lock, _is_looking
    stop_recording()
    _look_at, _look_lock, _is_looking = 0.0, threading.RLock(), False
    _open.clear()


os.register_at_fork(after_in_child=_disconnect_after_fork)
