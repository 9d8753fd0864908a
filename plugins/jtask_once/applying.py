"""Which tasks and runs have keys: asked for every run, so nothing heavy is imported for it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo
    from jtask.runtime import RunContext

HEADER = "jtask-once"
"""The header with a run's keys."""
OPTIONS = ("idempotency_key", "unique", "debounce")


def concerns(task: "TaskInfo[..., object]") -> bool:
    """Tell whether calls of a task may have keys, or must say that they have none."""
    return any(task.options.get(name) is not None for name in OPTIONS) or is_unique(task)


def is_unique(task: "TaskInfo[..., object]") -> bool:
    """Tell whether a task is declared as unique, whatever a copy of it is told for one call."""
    declared: TaskInfo[..., object] | None = task
    while declared is not None:
        if declared.options.get("unique") is not None:
            return True
        declared = declared.original
    return False


def may_have_keys(run: "RunContext") -> bool:
    """Tell whether a run may have keys: a direct call has none."""
    if run.queue is None:
        return False
    return HEADER in run.headers or run.task.options.get("unique") is not None
