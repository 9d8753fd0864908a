"""Perform one attempt of a run: the same for a direct call, a local runner and a worker.

`run_attempt` is a coroutine that suspends only where the task's function or a hook is asynchronous,
so `run_sync` can run it to its end without an event loop for a synchronous direct call.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, cast

from jtask.errors import ResultError, RunAbandoned, RunRefused, SerializationError
from jtask.execution.admission import ask_for_admission, attempt_over
from jtask.execution.asking import ask, notify
from jtask.execution.calling import call_async, call_plain
from jtask.execution.naming import name_run
from jtask.execution.returned_futures import states_of_futures
from jtask.execution.returned_states import failure_returned, state_returned, value_of
from jtask.execution.streaming import streamed
from jtask.lifecycle import (
    AttemptEnd,
    Finish,
    Park,
    PutOff,
    Release,
    Reschedule,
    Retry,
    RollBack,
    after_error,
    describe,
    retryable,
)
from jtask.outcomes import Outcome
from jtask.plugins import TaskHooks
from jtask.runtime import RunContext, reset_current, set_current
from jtask.states import ERROR_OF, State, StateName

Result = Outcome | Reschedule | Release
_Instead = Outcome | Retry | Park | RunRefused
# Until Python 3.12 a member of an enumeration is looked up by a function, which nearly all runs are
# spared.
_RUNNING, _COMPLETED = StateName.RUNNING, StateName.COMPLETED


async def run_attempt(
    run: RunContext,
    hooks: TaskHooks,
    *,
    encode: Callable[[Any], bytes] | None = None,
    stopping: Callable[[], bool] | None = None,
    is_looked_up: bool = False,
) -> Result:
    """Perform one attempt of a run that has its arguments.

    Args:
        run: The run, in state Pending or AwaitingRetry.
        hooks: Those of its task.
        encode: Writes the value where it is stored; what it raises fails the run.
        stopping: Tells whether the worker interrupts its runs in order to stop.
        is_looked_up: Whether `known_outcome` was asked before, and knew none.

    Returns:
        Outcome | Reschedule | Release: The run's end, or when it is delivered again.

    Raises:
        RunAbandoned: It has ended before its function has.
    """
    hooks = hooks.concerned_with(run)
    try:
        result = await _perform(run, hooks, encode, stopping, is_looked_up=is_looked_up)
    except RunAbandoned:
        raise  # which was told when it was abandoned
    except BaseException:
        await attempt_over(run, hooks, AttemptEnd.SETTLED)
        raise
    if hooks.attempt_over is not None or run.concerns:
        await attempt_over(run, hooks, _end_of(result))
    try:
        return result
    finally:
        # From Python 3.12 on, what a coroutine raises holds the frames that await it: this one.
        del result


async def _perform(
    run: RunContext,
    hooks: TaskHooks,
    encode: Callable[[Any], bytes] | None,
    stopping: Callable[[], bool] | None,
    *,
    is_looked_up: bool,
) -> Result:
    instead: _Instead | None = None
    try:
        if hooks.asks_first or hooks.asks_to_admit:
            instead = await _instead_of(run, hooks, encode, is_looked_up=is_looked_up)
        if instead is None and (telling := _begin(run, hooks)) is not None:
            await telling
    except asyncio.CancelledError as error:
        return await _failed(run, hooks, error, stopping)
    if instead is not None:
        return await _end_without_attempt(run, hooks, instead)
    # The wall clock may be set while the function executes.
    clock = time.perf_counter()
    said: State | None = None
    call = streamed if run.is_streamed else call_async if run.task.is_async else call_plain
    try:
        token = set_current(run)
        try:
            value = call(run, hooks)
            if call is not call_plain:
                value = await value
        finally:
            reset_current(token)
        if run.task.is_flow:
            value = await states_of_futures(run, value)
        said = state_returned(value)
        if said is not None:
            value = value_of(said)
        # In here: a value that cannot be stored fails the run, and its failure has hooks too.
        payload = None if encode is None else _encode_returned(encode, value)
    except RunAbandoned:
        # Its end was reported when it was abandoned, and is not to be reported again.
        raise
    except BaseException as error:
        _leave_if_given_up(run)
        run.run_time += time.perf_counter() - clock
        run.error = error
        return await _failed(run, hooks, error, stopping, failure_returned(said))
    _leave_if_given_up(run)
    run.run_time += time.perf_counter() - clock
    outcome = _complete(run, value, payload, said)
    if (asking := _after_completion(run, hooks.concerned_with(run), outcome)) is not None:
        await asking
    return outcome


async def _instead_of(
    run: RunContext,
    hooks: TaskHooks,
    encode: Callable[[Any], bytes] | None,
    *,
    is_looked_up: bool,
) -> _Instead | None:
    """Ask the plugins what comes in place of an attempt; None makes it."""
    if hooks.asks_first and not is_looked_up:
        known = await known_outcome(run, hooks, encode)
        if known is not None:
            return known
    return await ask_for_admission(run, hooks) if hooks.asks_to_admit else None


def _leave_if_given_up(run: RunContext) -> None:
    # It has ended, or another worker may execute it by now: neither states nor hooks are to tell of
    # an end here, such as that of a wait which failed because this worker has disconnected, or that
    # of a coroutine which the worker cancels as it closes its loop.
    if run.is_handed_back or run.is_abandoned:
        raise RunAbandoned(f"run {run.run_id} was given up")


def _begin(run: RunContext, hooks: TaskHooks) -> Coroutine[Any, Any, object] | None:
    """Enter the attempt, and return what tells the plugins; None where none wants to hear."""
    running = run.enter(_RUNNING if run.attempt == 1 else StateName.RETRYING)
    run.attempt_started_at = running.at
    if run.started_at is None:
        run.started_at = running.at
    return _tell_state(run, hooks, running) if hooks.state else None


def _complete(run: RunContext, value: Any, payload: bytes | None, said: State | None) -> Outcome:
    message, details = ("", None) if said is None else (said.message, said.details)
    state = run.enter(_COMPLETED, message, details=details, data=value)
    return Outcome(state, value, None, payload)


def _after_completion(
    run: RunContext, hooks: TaskHooks, outcome: Outcome
) -> Coroutine[Any, Any, None] | None:
    """Tell the plugins of a completed run, or return what asks them; mostly none is to be asked."""
    if hooks.state or hooks.completed is not None:
        return _ask_completed(run, hooks, outcome)
    return _tell_settled(run, hooks, outcome)


async def _ask_completed(run: RunContext, hooks: TaskHooks, outcome: Outcome) -> None:
    await _notify_state(run, hooks, outcome.state)
    if hooks.completed is not None:
        verdict = await ask(hooks.completed, run, RollBack, PutOff, outcome=outcome)
        # A worker's run is settled once: it cannot be left open.
        if isinstance(verdict, PutOff) and run.queue is None:
            outcome.is_open = True
            verdict.settle = partial(_settle_later, run, hooks, outcome)
            if verdict.begin is not None:
                await verdict.begin()
            return
        if isinstance(verdict, RollBack):
            await _roll_back(run, hooks, outcome, verdict.message)
    await _notify_settled(run, hooks, outcome)


async def _settle_later(
    run: RunContext, hooks: TaskHooks, outcome: Outcome, rolled_back: str | None
) -> None:
    if rolled_back is not None:
        await _roll_back(run, hooks, outcome, rolled_back)
    await _notify_settled(run, hooks, outcome)
    outcome.is_open = False
    if outcome.when_settled is not None:
        outcome.when_settled()


async def _roll_back(run: RunContext, hooks: TaskHooks, outcome: Outcome, message: str) -> None:
    await _enter(run, hooks, StateName.ROLLED_BACK, message, data=outcome.value)
    outcome.state = cast("Any", run.state)


async def known_outcome(
    run: RunContext, hooks: TaskHooks, encode: Callable[[Any], bytes] | None = None
) -> Outcome | None:
    """Ask the plugins for the end of a run that need not be executed.

    Args:
        run: The run, in state Pending or AwaitingRetry, with its arguments.
        hooks: Those of its task.
        encode: Writes the value where it is stored; a known one that it refuses is not known.

    Returns:
        Outcome | None: What to end it with, see `finish_known`; None to execute it.
    """
    # Pending was entered before there were hooks to ask. What else it may be, AwaitingRetry, was
    # reported by the worker that rescheduled it.
    if run.state is not None and run.state.name is StateName.PENDING:
        await _notify_state(run, hooks, run.state)
    if hooks.run_name is not None and (unnamed := name_run(run, hooks.run_name)) is not None:
        return unnamed
    if hooks.lookup is None:
        return None
    accepted = None if encode is None else partial(_encode_known, encode)
    return cast("Outcome | None", await ask(hooks.lookup, run, Outcome, accept=accepted))


async def finish_known(run: RunContext, hooks: TaskHooks, outcome: Outcome) -> Outcome:
    """End a run with an outcome that a plugin knew.

    Args:
        run: The run; it enters the final state here.
        hooks: Those of its task.
        outcome: What `known_outcome` returned.
    """
    data = outcome.value if outcome.successful else outcome.error
    name, message, load = outcome.state.name, outcome.state.message, outcome.state.load
    await _enter(run, hooks, name, message, data=data, load=load)
    outcome.state = cast("Any", run.state)
    return await _notify_settled(run, hooks, outcome)


async def abandon_attempt(run: RunContext, hooks: TaskHooks, error: BaseException) -> Result:
    """End an attempt whose function still executes: what that does later counts for nothing.

    Args:
        run: The run, which is executing elsewhere.
        hooks: Those of its task.
        error: Counts as raised by the function.
    """
    # By the wall clock, which may have been set back: `clock` is with the function.
    run.run_time += max(0.0, time.time() - cast("float", run.attempt_started_at))
    run.error = error
    result = await _failed(run, hooks, error, None)
    await attempt_over(run, hooks, _end_of(result))
    return result


def _end_of(result: Result) -> AttemptEnd:
    if isinstance(result, Outcome):
        return AttemptEnd.SETTLED
    return AttemptEnd.HANDED_BACK if isinstance(result, Release) else AttemptEnd.RETRIED


async def finish(
    run: RunContext,
    hooks: TaskHooks,
    decision: Finish,
    error: BaseException | None = None,
) -> Outcome:
    """End a run without an attempt, such as one with unreadable arguments.

    Args:
        run: The run; it enters the final state here.
        hooks: Those of its task.
        decision: How it ends.
        error: What is raised where it is waited for; None makes one of the decision's message.
    """
    data = error or ERROR_OF[decision.state](decision.message or None)
    said, at, details = decision.message, decision.at, decision.details
    await _enter(run, hooks, decision.state, said, at=at, details=details, data=data)
    outcome = Outcome(cast("Any", run.state), error=error)
    if decision.dead_letter:
        outcome.dead_letter = decision.message
    return await _notify_settled(run, hooks, outcome)


async def put_off(run: RunContext, hooks: TaskHooks, wait: Retry | Park) -> Result:
    """Let a run wait on that is not attempted yet.

    Args:
        run: The run; it enters Scheduled here.
        hooks: Those of its task.
        wait: Until when, and why.
    """
    message = wait.reason or "waiting for admission"
    park = wait if isinstance(wait, Park) else None
    at = wait.until if isinstance(wait, Park) else wait.at
    following = Reschedule(at, StateName.SCHEDULED, message, new_attempt=False, park=park)
    return await _reschedule(run, hooks, following)


def _encode_returned(encode: Callable[[Any], bytes], value: Any) -> bytes:
    try:
        return encode(value)
    except ResultError:
        raise
    except Exception as error:
        raise ResultError(str(error)) from error


def _encode_known(encode: Callable[[Any], bytes], outcome: Outcome) -> None:
    if not outcome.successful or outcome.payload is not None:
        return
    try:
        outcome.payload = encode(outcome.value)
    except Exception as error:
        raise SerializationError(
            f"it knew a value that cannot be stored: {describe(error)}"
        ) from error


async def _end_without_attempt(run: RunContext, hooks: TaskHooks, instead: _Instead) -> Result:
    if isinstance(instead, Outcome):
        return await finish_known(run, hooks, instead)
    if isinstance(instead, RunRefused):
        return await finish(run, hooks, Finish(StateName.CANCELLED, str(instead)), instead)
    return await put_off(run, hooks, instead)


async def _failed(
    run: RunContext,
    hooks: TaskHooks,
    error: BaseException,
    stopping: Callable[[], bool] | None,
    returned: State | None = None,
) -> Result:
    # First: delays of retries count from here, and whoever reads the history sees them kept.
    run.attempt_ended_at = time.time()
    retry: Retry | None = None
    # A run that was asked to end is not retried, whatever it raises.
    if hooks.failed is not None and run.cancelled is None and retryable(error, returned):
        try:
            retry = await ask(hooks.failed, run, Retry, error=error)
        except asyncio.CancelledError as cancellation:
            error = cancellation
    is_stopping = stopping is not None and stopping()
    decision = after_error(
        error, retry, stopping=is_stopping, cancelled=run.cancelled, returned=returned
    )
    if isinstance(decision, Release):
        await _enter(run, hooks, StateName.SCHEDULED, "handed back by a stopping worker")
        return decision
    if isinstance(decision, Reschedule):
        return await _reschedule(run, hooks, decision)
    return await finish(run, hooks, decision, error)


async def _reschedule(run: RunContext, hooks: TaskHooks, decision: Reschedule) -> Result:
    try:
        await _enter(run, hooks, decision.state, decision.message, details={"until": decision.at})
    except asyncio.CancelledError as error:
        if run.cancelled is None:
            raise
        return await finish(run, hooks, Finish(StateName.CANCELLED, run.cancelled), error)
    return decision


async def _notify_settled(run: RunContext, hooks: TaskHooks, outcome: Outcome) -> Outcome:
    if (telling := _tell_settled(run, hooks, outcome)) is not None:
        await telling
    return outcome


def _tell_settled(
    run: RunContext, hooks: TaskHooks, outcome: Outcome
) -> Coroutine[Any, Any, None] | None:
    caller = hooks.settled.get(outcome.state.name)
    return None if caller is None else notify(caller, run, outcome=outcome)


async def _enter(
    run: RunContext,
    hooks: TaskHooks,
    name: StateName,
    message: str = "",
    *,
    at: float | None = None,
    details: Mapping[str, object] | None = None,
    data: Any = None,
    load: Callable[[bool], Any] | None = None,
) -> None:
    state = run.enter(name, message, at, details=details, data=data, load=load)
    await _notify_state(run, hooks, state)


async def _notify_state(run: RunContext, hooks: TaskHooks, state: State) -> None:
    if (telling := _tell_state(run, hooks, state)) is not None:
        await telling


def _tell_state(
    run: RunContext, hooks: TaskHooks, state: State
) -> Coroutine[Any, Any, None] | None:
    caller = hooks.state.get(state.name)
    return None if caller is None else notify(caller, run, state=state)
