"""What follows from a task, worked out at its first use and kept in the task itself.

A table beside it would keep every task of a notebook alive.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from jtask.declaration.task_info import TaskInfo

T = TypeVar("T")


def kept_in_task(
    work_out: Callable[[TaskInfo[..., Any]], T],
) -> Callable[[TaskInfo[..., Any]], T]:
    """Have a function called once for each task, until what is known of the task changes.

    Args:
        work_out: Returns the same for a task whenever it is called.
    """

    @wraps(work_out)
    def fact_of(task: TaskInfo[..., Any]) -> T:
        kept = task.kept  # another thread may make the task forget it meanwhile
        if work_out not in kept:
            kept[work_out] = work_out(task)
        fact: T = kept[work_out]
        return fact

    return fact_of
