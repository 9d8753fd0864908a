"""The plugin that ends attempts which take too long: `timeout_seconds`, `soft_timeout_seconds`.

It interrupts a plain function whose run is cancelled by the same means.

It stands in for the task's function rather than around it, so that an interruption can hit nothing
but the task's own code. Tasks with `isolation="process"` are executed in child processes.
"""

import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from jtask.daemon_calls import call_in_daemon
from jtask.errors import TaskDefinitionError
from jtask.hooks import hookimpl
from jtask_timeouts.limits import NO_LIMITS, declared_options, is_over, limits_of

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo
    from jtask.options import Option
    from jtask.runtime import RunContext


@hookimpl
def jtask_options() -> "list[Option]":
    """Declare the limits, and where to execute."""
    return declared_options()


@hookimpl
def jtask_applies(task: "TaskInfo[..., Any]") -> bool:
    """Concern all tasks but coroutine functions without limits, which their loop can cancel."""
    return not task.is_async or limits_of(task) is not NO_LIMITS or _is_isolated(task)


# Last of all: a plugin that stands in for the function altogether leaves nothing to be limited.
@hookimpl(trylast=True)
def jtask_invoke(run: "RunContext") -> Callable[..., Any] | None:
    """Execute the function within its limits; a direct call without any needs no watch."""
    limits = limits_of(run.task)
    if run.step is not None and is_over(run, limits):
        raise limits.hard_timeout()
    if _is_isolated(run.task):
        if run.step is not None:
            raise TaskDefinitionError(
                f"task {run.task_name!r} is a generator with isolation='process', which only a "
                f"worker executes: use .delay(), or .fn() without any of its options"
            )
        from jtask_timeouts.isolation import call_in_child, call_in_child_async

        isolated = call_in_child_async if run.task.is_async else call_in_child
        return lambda *args, **kwargs: isolated(run, limits, args, kwargs)
    if run.task.is_async:
        from jtask_timeouts.coroutines import call_on_loop

        return lambda *args, **kwargs: call_on_loop(run, limits, args, kwargs)
    if run.queue is None and limits.report is None:
        return None
    from jtask_timeouts.threads import call_in_thread

    return lambda *args, **kwargs: call_in_thread(run, limits, args, kwargs)


@hookimpl
def jtask_isolate(
    task: "TaskInfo[..., Any]",
) -> "Callable[[RunContext], Callable[..., Any]] | None":
    """Execute a run that may have killed its workers in a child process."""
    from jtask_timeouts.suspects import can_isolate, isolate

    return isolate if can_isolate(task) else None


@hookimpl
@asynccontextmanager
async def jtask_worker() -> AsyncGenerator[None]:
    """End the child processes with the worker: its process may live on, and another broker come."""
    yield
    # Not imported for that: a worker that has executed nothing there is spared it.
    processes = sys.modules.get("jtask_timeouts.process_pool")
    if processes is not None:
        await call_in_daemon("jtask-ending-children", processes.end_idle_children)


def _is_isolated(task: "TaskInfo[..., Any]") -> bool:
    return task.options.get("isolation") == "process"
