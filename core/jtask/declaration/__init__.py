"""What a task is: its function, its options, its key. Facts only."""

from typing import TYPE_CHECKING

from jtask.lazy_names import lazy_names

if TYPE_CHECKING:
    from jtask.declaration.task_info import TaskInfo

__all__ = ["TaskInfo"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "jtask.declaration.task_info": ["TaskInfo"],
    },
)
