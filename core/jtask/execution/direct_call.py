"""Call a task here and now, through the same engine as a worker."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import copy_context
from functools import partial
from typing import Any

from jtask.declaration.task_info import TaskInfo
from jtask.execution.attempt import Result, run_attempt
from jtask.execution.recording import may_be_recorded
from jtask.execution.streaming import Item, next_item, next_item_async, resume_with
from jtask.execution.sync_await import run_sync
from jtask.ids import get_run_ids, process_label
from jtask.lifecycle import Release, Reschedule
from jtask.outcomes import Outcome
from jtask.plugins import TaskHooks, hooks_of
from jtask.runtime import RunContext, call_headers, current_run
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
) -> Any:
    """Execute a run in this thread, with its retries, and return its value.

    Args:
        task: The task.
        args: Positional arguments; they are not checked against the annotations.
        kwargs: Keyword arguments.
        begin_recording: Called now and then while direct calls are not recorded but may be; it
            calls `record`.

    Raises:
        RunFailed: It ended without an exception of its own, such as cancelled or refused.
        BaseException: What the function raised in its last attempt.
    """
    run = _begin(task, args, kwargs, begin_recording, blocking=True)
    hooks = _hooks(run)
    while True:
        result: Result = run_sync(run_attempt(run, hooks))
        if isinstance(result, Outcome):
            _record_end(run, result)
            run.let_go()
            try:
                return _unpack(result)
            finally:
                del result  # it holds the exception that holds this frame
        time.sleep(_pause(run, result))  # a retry waits here: the caller wants the value
        _resume(run)


async def call_async(
    task: TaskInfo[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    begin_recording: Callable[[], None] | None = None,
) -> Any:
    """Do what `call` does on this event loop, without blocking it."""
    run = _begin(task, args, kwargs, begin_recording, blocking=False)
    hooks = _hooks(run)
    while True:
        result = await run_attempt(run, hooks)
        if isinstance(result, Outcome):
            _record_end(run, result)
            run.let_go()
            try:
                return _unpack(result)
            finally:
                del result  # it holds the exception that holds this frame
        await asyncio.sleep(_pause(run, result))
        _resume(run)


def stream(
    task: TaskInfo[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    begin_recording: Callable[[], None] | None = None,
) -> Generator[Any, Any, Any]:
    """Do what `call` does for a generator task: yield its items, and return what it returns.

    It begins with the first item; a retry begins the generator anew.
    """
    run = _begin(task, args, kwargs, begin_recording, blocking=True)
    run.is_streamed = True
    hooks, context = _hooks(run), copy_context()
    while True:
        attempt = run_attempt(run, hooks)
        resume: Callable[[], Any] = partial(attempt.send, None)
        while isinstance(got := next_item(context, resume), Item):
            try:
                sent = yield got.value
            except BaseException as error:
                resume = resume_with(run, attempt, error)
            else:
                resume = partial(attempt.send, sent)
        result: Result = got.result
        del got
        if isinstance(result, Outcome):
            _record_end(run, result)
            run.let_go()
            try:
                return _unpack(result)
            finally:
                del result  # it holds the exception that holds this frame
        time.sleep(_pause(run, result))
        _resume(run)


async def stream_async(
    task: TaskInfo[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    begin_recording: Callable[[], None] | None = None,
) -> AsyncGenerator[Any, Any]:
    """Do what `stream` does for an asynchronous generator, on this event loop."""
    run = _begin(task, args, kwargs, begin_recording, blocking=False)
    run.is_streamed = True
    hooks, context = _hooks(run), copy_context()
    while True:
        attempt = run_attempt(run, hooks)
        resume: Callable[[], Any] = partial(attempt.send, None)
        while isinstance(got := await next_item_async(context, attempt, resume), Item):
            try:
                sent = yield got.value
            except BaseException as error:
                resume = resume_with(run, attempt, error)
            else:
                resume = partial(attempt.send, sent)
        result: Result = got.result
        del got
        if isinstance(result, Outcome):
            _record_end(run, result)
            run.let_go()
            try:
                _unpack(result)
            finally:
                del result  # it holds the exception that holds this frame
            return
        await asyncio.sleep(_pause(run, result))
        _resume(run)


def _begin(
    task: TaskInfo[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    begin_recording: Callable[[], None] | None,
    *,
    blocking: bool,
) -> RunContext:
    parent, now = current_run(), time.time()
    if _emit is None and begin_recording is not None and now >= _look_at:
        _look(now, begin_recording)
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
        caller=parent,
    )
    run.enter(StateName.PENDING)
    return run


def _hooks(run: RunContext) -> TaskHooks:
    hooks = hooks_of(run.task)
    return hooks.concerning(run.headers) if run.headers else hooks


def _record_end(run: RunContext, outcome: Outcome) -> None:
    if outcome.is_open:
        # Once it is known; and if that was just now, by another thread, below.
        outcome.when_settled = partial(_record_end, run, outcome)
    if not outcome.is_open and _store is not None:
        _store(run, outcome)


def _pause(run: RunContext, result: Reschedule | Release) -> float:
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


def _resume(run: RunContext) -> None:
    if run.state is not None and run.state.name is StateName.SCHEDULED:
        run.enter(StateName.PENDING)


def _unpack(outcome: Outcome) -> Any:
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


def _look(now: float, begin_recording: Callable[[], None]) -> None:
    global _look_at
    _look_at = now + LOOK_SECONDS
    try:
        if may_be_recorded():
            begin_recording()
    except Exception as error:  # a setting that is wrong, say: the call does without it
        _log.warning("direct calls are not recorded: %s", error)


def on_state(emit: OnState | None) -> None:
    """Say who gets the states of direct calls from now on; None is nobody."""
    global _emit
    _emit = emit


def _emit_if_connected(run: RunContext, state: State) -> None:
    if _emit is not None:
        _emit(run, state)


def _disconnect_after_fork() -> None:
    # The client it leads to is the parent's, whose threads do not exist here.
    global _look_at
    stop_recording()
    _look_at = 0.0


os.register_at_fork(after_in_child=_disconnect_after_fork)
