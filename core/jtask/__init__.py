"""Background tasks for Python on NATS JetStream."""

from typing import TYPE_CHECKING, Any

from jtask.states import State, StateName
from jtask.tagging import tags
from jtask.tasks import AsyncTask, SyncTask, Task, task

if TYPE_CHECKING:
    from jtask.client import get_run
    from jtask.runs import Run

__all__ = [
    "AsyncTask",
    "Run",
    "State",
    "StateName",
    "SyncTask",
    "Task",
    "get_run",
    "tags",
    "task",
]

_LAZY = {"Run": "jtask.runs", "get_run": "jtask.client"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'jtask' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
