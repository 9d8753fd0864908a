"""Execute a run that may have killed its workers where it can kill nobody else."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jtask.errors import ProcessDied, TargetError
from jtask.worker.targets import target_of
from jtask_timeouts.isolation import call_in_child, call_in_child_async
from jtask_timeouts.limits import limits_of

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo
    from jtask.runtime import RunContext


def can_isolate(task: "TaskInfo[..., Any]") -> bool:
    """Tell whether another process can load a task."""
    try:
        target_of(task)
    except TargetError:
        return False
    return True


def isolate(run: "RunContext") -> Callable[..., Any]:
    """Return what to call in place of the task's function: a child process executes it."""
    limits = limits_of(run.task)

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return call_in_child(run, limits, args, kwargs)
        except ProcessDied as error:
            raise _blamed(run, error) from None

    async def call_async(*args: Any, **kwargs: Any) -> Any:
        try:
            return await call_in_child_async(run, limits, args, kwargs)
        except ProcessDied as error:
            raise _blamed(run, error) from None

    return call_async if run.task.is_async else call


def _blamed(run: "RunContext", error: ProcessDied) -> ProcessDied:
    if not run.lost_workers:
        return error  # it was no suspect: a task runner wants it in a process
    lost = run.lost_workers + 1
    return ProcessDied(f"the run lost {lost} workers, the last one a process of its own: {error}")
