"""Ask a task's own `retry_condition_fn` whether to retry a run."""

import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from jtask import lifecycle
from jtask.errors import RetryAfter
from jtask.execution import on_this_loop
from jtask.execution.sync_await import await_here
from jtask.lifecycle import Finish, Retry
from jtask.runtime import executing
from jtask.states import State

if TYPE_CHECKING:
    from jtask.runtime import RunContext
    from jtask_retries.policy import Policy

_log = logging.getLogger("jtask")


def when_allowed(
    policy: "Policy", run: "RunContext", error: BaseException, retry: Callable[[], Retry]
) -> Retry | Awaitable[Retry | None] | None:
    """Return the retry if the task's condition holds, if it has none, or if the task asks for it.

    Args:
        policy: The task's.
        run: Whose attempt has failed.
        error: What it raised.
        retry: Makes the retry; called once the condition holds, for its instant counts from then.

    Returns:
        Retry | Awaitable[Retry | None] | None: None lets the run fail. Awaitable where the
            condition is asynchronous and the run is on a loop.
    """
    if policy.condition is None or isinstance(error, RetryAfter):
        return retry()
    try:
        # It may ask `jtask.runtime`, as the task does; what goes to the loop keeps the context.
        with executing(run):
            answer = policy.condition(run.task, run, _state_without_retry(error))
            # A run in a thread has no loop that could await the answer later: `await_here` does.
            if inspect.isawaitable(answer) and not run.blocking:
                return on_this_loop(_when_awaited(run, answer, retry))
            is_allowed = await_here(answer)
        return retry() if is_allowed else None
    except Exception:
        # Not retried: a condition is there to limit retries, and a broken one limits nothing.
        _log_failure(run)
        return None


async def _when_awaited(
    run: "RunContext", answer: Awaitable[Any], retry: Callable[[], Retry]
) -> Retry | None:
    try:
        return retry() if await answer else None
    except Exception:
        _log_failure(run)
        return None


def _log_failure(run: "RunContext") -> None:
    _log.exception(
        "the retry_condition_fn of task %s failed: not retrying run %s",
        run.task_name,
        run.run_id,
    )


def _state_without_retry(error: BaseException) -> State | None:
    """Return the state that the run ends in unless it is tried again."""
    decision = lifecycle.after_error(error, None, stopping=False)
    if not isinstance(decision, Finish):
        return None
    return State(decision.state, time.time(), decision.message, data=error)
