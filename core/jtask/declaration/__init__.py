"""What a task is: its function, its options, its key. Facts only."""

from jtask.declaration.task_info import TaskInfo

__all__ = ["TaskInfo"]
