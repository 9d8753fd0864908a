"""One task's arguments and results as bytes."""

import sys
from collections.abc import Callable
from functools import cached_property
from typing import Any, Self

from jtask.declaration.definition import SerializerName, class_method_around
from jtask.declaration.kept_facts import kept_in_task
from jtask.declaration.registry import refuse_ambiguous
from jtask.declaration.task_info import TaskInfo
from jtask.errors import SerializationError
from jtask.serialization.arguments import ArgumentCodec
from jtask.serialization.results import ResultCodec
from jtask.serialization.signatures import item_annotation, result_annotation


class CallCodecs:
    """The codecs of one task, each built by its first use.

    What a task's own code declares decides how bytes are read, never what a message says.

    Args:
        task: The task.
        owner: The class that a method belongs to.
    """

    def __init__(self, task: TaskInfo[..., Any], owner: type | None) -> None:
        self._task = task
        self._owner = owner
        self.serializer: SerializerName = task.serializer

    @cached_property
    def arguments(self) -> ArgumentCodec:
        """For what the function takes."""
        return ArgumentCodec(
            self._task.fn,
            task_name=self._task.name,
            serializer=self.serializer,
            owner=self._owner,
        )

    @cached_property
    def result(self) -> ResultCodec:
        """For what the function returns."""
        return ResultCodec(
            self._task.fn,
            task_name=self._task.name,
            serializer=self.serializer,
            annotation=result_annotation(self._task.fn, self._owner),
        )

    @cached_property
    def item(self) -> ResultCodec:
        """For what a generator yields."""
        name = self._task.name
        return ResultCodec(
            self._task.fn,
            task_name=name,
            serializer=self.serializer,
            subject=f"an item of task {name!r}",
            annotation=item_annotation(self._task.fn, self._owner),
        )

    def servable(self) -> Self:
        """Return these codecs, for a worker.

        Raises:
            TaskDefinitionError: It is declared to return, or to yield, what can never be sent.
            TaskKeyConflict: Another task has its key.
        """
        refuse_ambiguous(self._task)
        self.result.check_annotation()
        if self._task.is_generator:
            self.item.check_annotation()
        return self

    def check(self, serializer: str) -> None:
        """Refuse bytes that were written in a way which the task does not declare.

        Args:
            serializer: How the message says that they were written.

        Raises:
            SerializationError: Naming both, and the ways out.
        """
        if serializer != self.serializer:
            raise SerializationError(
                f"task {self._task.name!r} declares serializer={self.serializer!r} here, but the "
                f"run was written with {serializer!r}: declare the same on both sides"
            )


@kept_in_task
def codecs_of(task: TaskInfo[..., Any]) -> CallCodecs:
    """Return what writes and reads a task's arguments and results; built once per task.

    Args:
        task: The task; a bound copy of a method shares the codecs of the method.

    Returns:
        CallCodecs: The codecs. Each of the two builds its types when it is first used.

    Raises:
        TaskDefinitionError: The task is a class method that was declared the wrong way round.
    """
    if task.unbound is not None:
        # A method is bound at each use: types must not be built for each.
        return codecs_of(task.unbound)
    if task.original is not None and task.original.serializer == task.serializer:
        # Likewise a copy, which is often made for one call.
        return codecs_of(task.original)
    owner = task.owner or _class_around(task.fn)
    if owner is not None and isinstance(vars(owner).get(_path(task.fn)[-1]), classmethod):
        raise class_method_around(task.fn)
    return CallCodecs(task, owner)


def _path(fn: Callable[..., Any]) -> list[str]:
    return str(getattr(fn, "__qualname__", "")).split(".")


def _class_around(fn: Callable[..., Any]) -> type | None:
    """Return the class in whose body a function stands, as far as its module can be asked."""
    *path, _ = _path(fn)
    found: Any = sys.modules.get(getattr(fn, "__module__", ""))
    for name in path:
        found = getattr(found, name, None)
    return found if path and isinstance(found, type) else None
