"""The tasks of this process by key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from jtask.declaration.keys import qualified_name
from jtask.declaration.task_info import TaskInfo
from jtask.errors import TaskKeyConflict

# Weak: a task that a notebook has defined anew goes with the last use of it.
_tasks: WeakValueDictionary[str, TaskInfo[..., Any]] = WeakValueDictionary()


def register(task: TaskInfo[..., Any]) -> None:
    """Remember a task by its key.

    A function that is defined again (a reload, a notebook cell, a script imported by its own
    name) replaces itself.

    Raises:
        TaskKeyConflict: Another function has the key.
    """
    known = _tasks.get(task.key)
    if known is not None and _origin(known.fn) != _origin(task.fn):
        raise TaskKeyConflict(
            f"two tasks have the key {task.key!r}: {_origin(known.fn)} and {_origin(task.fn)}; "
            f"give one of them another name= or key="
        )
    _tasks[task.key] = task


def find_task(key: str) -> TaskInfo[..., Any] | None:
    """Return this process's task with a key."""
    return _tasks.get(key)


def known_tasks() -> list[TaskInfo[..., Any]]:
    """Return this process's tasks."""
    return list(_tasks.values())


def _origin(fn: Callable[..., Any]) -> str:
    name = qualified_name(fn)
    code = getattr(fn, "__code__", None)
    # In a notebook or the interpreter each cell is a file of its own.
    if code is None or name.startswith("__main__."):
        return name
    return f"{name} ({Path(code.co_filename).resolve()})"
