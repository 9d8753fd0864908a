"""Perform one attempt of a run: the same for a direct call, a local runner and a worker.

`attempt` is a coroutine that suspends only where the task's function or a hook is asynchronous, so
`drive` can run it to its end without an event loop for a synchronous direct call.
"""

import contextlib
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from jtask import lifecycle
from jtask.errors import RunAbandoned, RunRefused
from jtask.lifecycle import Finish, Release, Reschedule, Retry
from jtask.outcomes import ERROR_OF, Outcome
from jtask.plugins import HookCaller, TaskHooks, first_answer
from jtask.runtime import RunContext, reset_current, set_current
from jtask.states import StateName

Result = Outcome | Reschedule | Release
_log = logging.getLogger("jtask")


async def run_attempt(
    run: RunContext,
    hooks: TaskHooks,
    *,
    encode: Callable[[Any], bytes] | None = None,
    stopping: Callable[[], bool] | None = None,
) -> Result:
    """Perform one attempt of a run that has its arguments.

    Args:
        run: The run, in state Pending or AwaitingRetry.
        hooks: Those of its task.
        encode: Writes the value where it is stored; what it raises fails the attempt.
        stopping: Tells whether the worker interrupts its runs in order to stop.

    Returns:
        Outcome | Reschedule | Release: The run's end, or how it goes on.
    """
    if hooks.state is not None and run.state and run.state.name is StateName.PENDING:
        await _ask(hooks.state, "jtask_state", run, state=run.state)
    if hooks.recall is not None and (recalled := await _recall(run, hooks.recall, encode)):
        return await _finish_recalled(run, hooks, recalled)
    if hooks.admit is not None:
        try:
            wait = await _ask(hooks.admit, "jtask_admit", run)
        except RunRefused as refusal:
            return await finish(run, hooks, Finish(StateName.CANCELLED, str(refusal)), refusal)
        if wait is not None:
            return await _wait_for_admission(run, hooks, wait)
    running = run.enter(StateName.RUNNING if run.attempt == 1 else StateName.RETRYING)
    if hooks.state is not None:
        await _ask(hooks.state, "jtask_state", run, state=running)
    run.attempt_started_at = begun = running.at
    if run.started_at is None:
        run.started_at = begun
    clock = time.perf_counter()
    try:
        value = await _call_async(run, hooks) if run.task.is_async else _call(run, hooks)
        payload = None if encode is None else encode(value)
    except RunAbandoned:
        raise
    except BaseException as error:
        run.run_time += time.perf_counter() - clock
        run.error = error
        return await _failed(run, hooks, error, stopping is not None and stopping())
    run.run_time += time.perf_counter() - clock
    completed = run.enter(StateName.COMPLETED, data=value)
    if hooks.state is not None:
        await _ask(hooks.state, "jtask_state", run, state=completed)
    return await _notify_settled(run, hooks, Outcome(completed, value, None, payload))


async def abandon_attempt(run: RunContext, hooks: TaskHooks, error: BaseException) -> Result:
    """End an attempt whose function goes on: what that does later counts for nothing.

    Args:
        run: The run, which is executing elsewhere.
        hooks: Those of its task.
        error: Counts as raised by the function.
    """
    run.run_time += max(0.0, time.time() - cast("float", run.attempt_started_at))
    run.error = error
    return await _failed(run, hooks, error, stopping=False)


async def finish(
    run: RunContext,
    hooks: TaskHooks,
    decision: Finish,
    error: BaseException | None = None,
) -> Outcome:
    """End a run without an attempt, such as one with unreadable arguments."""
    data = error or ERROR_OF[decision.state](decision.message or None)
    await _enter(run, hooks, decision.state, decision.message, at=decision.at, data=data)
    outcome = Outcome(cast("Any", run.state), error=error)
    if decision.dead_letter:
        outcome.dead_letter = decision.message
    return await _notify_settled(run, hooks, outcome)


def _call(run: RunContext, hooks: TaskHooks) -> Any:
    # No coroutine: one cannot raise the StopIteration that a plain function may raise.
    token = set_current(run)
    try:
        function = _function(run, hooks.invoke)
        if hooks.around is None:
            return function(*run.args, **run.kwargs)
        with contextlib.ExitStack() as stack:
            for manager in _managers(run, hooks.around):
                stack.enter_context(manager)
            return function(*run.args, **run.kwargs)
    finally:
        reset_current(token)


async def _call_async(run: RunContext, hooks: TaskHooks) -> Any:
    token = set_current(run)
    try:
        function = _function(run, hooks.invoke)
        if hooks.around is None:
            return await function(*run.args, **run.kwargs)
        async with contextlib.AsyncExitStack() as stack:
            for manager in _managers(run, hooks.around):
                if isinstance(manager, AbstractAsyncContextManager):
                    await stack.enter_async_context(cast("Any", manager))
                else:
                    stack.enter_context(manager)
            return await function(*run.args, **run.kwargs)
    finally:
        reset_current(token)


def _function(run: RunContext, invoke: HookCaller | None) -> Callable[..., Any]:
    """Return what executes the task: its own function unless a plugin stands in for it."""
    if invoke is None:
        return run.task.fn
    answers = (answer for answer in invoke(run=run) if answer is not None)
    return next(answers, run.task.fn)


def _managers(run: RunContext, around: HookCaller) -> list[Any]:
    """Return what to enter; the plugin that is asked first stands innermost."""
    return [manager for manager in reversed(around(run=run)) if manager is not None]


async def _recall(
    run: RunContext, caller: HookCaller, encode: Callable[[Any], bytes] | None
) -> Outcome | None:
    outcome = cast("Outcome | None", await _ask(caller, "jtask_recall", run))
    if outcome is None or encode is None or not outcome.successful:
        return outcome
    try:
        outcome.payload = encode(outcome.value)
    except Exception:
        _log.exception("a plugin recalled a value that cannot be stored")
        return None
    return outcome


async def _wait_for_admission(run: RunContext, hooks: TaskHooks, wait: Retry) -> Reschedule:
    message = wait.reason or "waiting for admission"
    await _enter(run, hooks, StateName.SCHEDULED, message, until=wait.at)
    return Reschedule(wait.at, StateName.SCHEDULED, message, new_attempt=False)


async def _failed(
    run: RunContext, hooks: TaskHooks, error: BaseException, stopping: bool
) -> Result:
    retry: Retry | None = None
    if hooks.failed is not None and run.cancelled is None and lifecycle.retryable(error):
        retry = await _ask(hooks.failed, "jtask_failed", run, error=error)
    decision = lifecycle.after_error(error, retry, stopping=stopping, cancelled=run.cancelled)
    if isinstance(decision, Release):
        await _enter(run, hooks, StateName.SCHEDULED, "handed back by a stopping worker")
        return decision
    if isinstance(decision, Reschedule):
        await _enter(run, hooks, decision.state, decision.message, until=decision.at)
        return decision
    return await finish(run, hooks, decision, error)


async def _finish_recalled(run: RunContext, hooks: TaskHooks, outcome: Outcome) -> Outcome:
    data = outcome.value if outcome.successful else outcome.error
    await _enter(run, hooks, outcome.state.name, outcome.state.message, data=data)
    outcome.state = cast("Any", run.state)
    return await _notify_settled(run, hooks, outcome)


async def _notify_settled(run: RunContext, hooks: TaskHooks, outcome: Outcome) -> Outcome:
    if hooks.settled is not None:
        await _ask(hooks.settled, "jtask_settled", run, outcome=outcome)
    return outcome


async def _enter(
    run: RunContext,
    hooks: TaskHooks,
    name: StateName,
    message: str = "",
    *,
    at: float | None = None,
    until: float | None = None,
    data: Any = None,
) -> None:
    details = None if until is None else {"until": until}
    state = run.enter(name, message, at, details=details, data=data)
    if hooks.state is not None:
        await _ask(hooks.state, "jtask_state", run, state=state)


async def _ask(caller: HookCaller, hook: str, run: RunContext, **facts: Any) -> Any:
    """Call a hook for its answer; a failure other than a refusal is logged and counts as None."""
    try:
        answers = caller(run=run, **facts)
        if not answers:
            return None
        if run.blocking:
            answers = [_wait(a) if inspect.isawaitable(a) else a for a in answers]
        return await first_answer(answers)
    except RunRefused:
        raise
    except Exception:
        _log.exception("a plugin failed in %s", hook)
        return None


def _wait(awaitable: Awaitable[Any]) -> Any:
    from jtask.client.io_thread import get_io_thread

    async def settled() -> Any:
        return await awaitable

    return get_io_thread().run(settled())
