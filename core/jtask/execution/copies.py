"""A run in a child process and its plugins: those there, and those in the worker."""

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from jtask.declaration.task_info import TaskInfo
from jtask.execution.asking import log_failure
from jtask.hook_callers import HookCaller
from jtask.plugins import get_plugins
from jtask.runtime import RunContext
from jtask.runtime.flow_runs import flow_headers
from jtask.states import State, StateName


@contextmanager
def accompanied(run: RunContext, tell: Callable[[str, bytes], None]) -> Generator[None]:
    """Enter what the plugins have to accompany a copy of a run with; one that fails is logged.

    Args:
        run: The copy.
        tell: Sends a message with its topic to the worker; not from the thread of the function.
    """
    caller = _caller("jtask_copy")
    with ExitStack() as stack:
        for implementation in () if caller is None else caller.implementations:
            try:
                manager = implementation.call({"run": run, "tell": tell})
                if manager is not None:
                    stack.enter_context(manager)
            except Exception as error:
                assert caller is not None
                log_failure(caller, implementation, error, run)
        yield


def told(run: RunContext, topic: str, message: bytes) -> None:
    """Give the plugins in the worker what one in a child process has told.

    Args:
        run: The run itself.
        topic: Whose message it is.
        message: What it is.
    """
    caller = _caller("jtask_told")
    if caller is not None:
        about = f"for run {run.run_id} of task {run.task_name!r}"
        caller.notify(about, run=run, topic=topic, message=message)


def _caller(hook: str) -> HookCaller | None:
    # Of all plugins: what a function does there may concern one that its task does not.
    return get_plugins().caller(hook)


def copy_of(
    facts: Mapping[str, Any],
    task: TaskInfo[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> RunContext:
    """Return a run as the task sees it in another process.

    Args:
        facts: What `facts_of` has told of it; JSON may have made lists of tuples.
        task: Its task there.
        args: Positional arguments of the function.
        kwargs: Keyword arguments of the function.
    """
    known: dict[str, Any] = {**facts, "tags": tuple(facts["tags"])}
    run = RunContext(task=task, blocking=not task.is_async, is_copy=True, **known)
    run.args, run.kwargs = args, kwargs
    # Notes for the history go with the state that the run is in.
    run.state = State(StateName.RUNNING, run.attempt_started_at or run.created_at)
    return run


def facts_of(run: RunContext) -> dict[str, Any]:
    """Return what a copy of a run in another process is made of; JSON can write it."""
    return {
        "run_id": run.run_id,
        "created_at": run.created_at,
        "attempt": run.attempt,
        "tags": list(run.tags),
        "parent_id": run.parent_id,
        "root_id": run.root_id,
        "queue": run.queue,
        "worker": run.worker,
        "version": run.version,
        # A copy has no callers, which say what flow the run is part of.
        "headers": {**flow_headers(run), **run.headers},
        "scheduled_for": run.scheduled_for,
        "started_at": run.started_at,
        "attempt_started_at": run.attempt_started_at,
        "run_time": run.run_time,
        "lost_workers": run.lost_workers,
        "is_submitted": run.is_submitted,
    }
