"""The tasks of this process by key."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from jtask.declaration.keys import qualified_name
from jtask.declaration.sameness import interchangeable
from jtask.declaration.task_info import TaskInfo
from jtask.errors import TaskKeyConflict

# Weak: a task that a notebook has defined anew goes with the last use of it.
_tasks: WeakValueDictionary[str, TaskInfo[..., Any]] = WeakValueDictionary()
# Those that another one of the same name has taken the key of.
_rivals: dict[str, list["weakref.ref[TaskInfo[..., Any]]"]] = {}

_ROUNDS = 3  # of the garbage collector, at most


def register(task: TaskInfo[..., Any]) -> None:
    """Remember a task by its key.

    A function that is defined again (a reload, a notebook cell, a script imported by its own
    name) replaces itself. So does another of the same name, such as the next product of a factory:
    it may only be called directly. `refuse_ambiguous` says so where the key matters.

    Raises:
        TaskKeyConflict: A function of another name has the key.
    """
    known = _tasks.get(task.key)
    if known is not None:
        if _origin(known.fn) != _origin(task.fn):
            raise conflict(known, task)
        if not interchangeable(known.fn, task.fn):
            _rivals.setdefault(task.key, []).append(weakref.ref(known))
    _tasks[task.key] = task


def refuse_ambiguous(task: TaskInfo[..., Any]) -> None:
    """Refuse a task if a worker could take another one for it.

    Raises:
        TaskKeyConflict: Another task that is in use has its key.
    """
    # Empty in nearly all programs: this is asked for each run.
    if task.key not in _rivals:
        return
    # What nobody uses any more may be part of a circle; what ends in it may hold it for a round.
    for _ in range(_ROUNDS):
        if _rival_of(task) is None:
            return
        gc.collect()
    if (rival := _rival_of(task)) is not None:
        raise conflict(rival, task)


def conflict(one: TaskInfo[..., Any], other: TaskInfo[..., Any]) -> TaskKeyConflict:
    """Return the error for two tasks with one key, naming both."""
    return TaskKeyConflict(
        f"two tasks have the key {one.key!r}: {_origin(one.fn)} and {_origin(other.fn)}"
        f"{_why_alike(one.fn, other.fn)}; give one of them another name= or key="
    )


def find_task(key: str) -> TaskInfo[..., Any] | None:
    """Return this process's task with a key."""
    return _tasks.get(key)


def known_tasks() -> list[TaskInfo[..., Any]]:
    """Return this process's tasks."""
    return list(_tasks.values())


def _rival_of(task: TaskInfo[..., Any]) -> TaskInfo[..., Any] | None:
    alive = [ref for ref in _rivals[task.key] if ref() is not None]
    _rivals[task.key] = alive
    for other in (*(ref() for ref in alive), _tasks.get(task.key)):
        if other is not None and not interchangeable(other.fn, task.fn):
            return other
    return None


def _why_alike(one: Callable[..., Any], other: Callable[..., Any]) -> str:
    if _origin(one) != _origin(other):
        return ""
    return ", which have one name, so a worker cannot tell them apart"


def _origin(fn: Callable[..., Any]) -> str:
    name = qualified_name(fn)
    code = getattr(fn, "__code__", None)
    # In a notebook or the interpreter each cell is a file of its own.
    if code is None or name.startswith("__main__."):
        return name
    return f"{name} ({Path(code.co_filename).resolve()})"
