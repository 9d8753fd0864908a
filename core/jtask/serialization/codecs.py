"""One task's arguments and results as bytes."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from jtask.declaration.definition import SerializerName
from jtask.errors import SerializationError
from jtask.serialization.arguments import ArgumentCodec
from jtask.serialization.results import ResultCodec
from jtask.wire.envelope import EnvelopeTemplate

if TYPE_CHECKING:
    from jtask.tasks import Task


class CallCodecs:
    """The codecs of one task, each built by its first use.

    What a task's own code declares decides how bytes are read, never what a message says.
    """

    def __init__(self, task: "Task[..., Any]", owner: type | None) -> None:
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
        return ResultCodec(self._task.fn, task_name=self._task.name, serializer=self.serializer)

    @cached_property
    def template(self) -> EnvelopeTemplate:
        """For plain first attempts."""
        return EnvelopeTemplate(self._task.key, self._task.name, self.serializer)

    def check(self, serializer: str) -> None:
        """Refuse bytes that were written in a way which the task does not declare.

        Raises:
            SerializationError: Naming both, and the ways out.
        """
        if serializer != self.serializer:
            raise SerializationError(
                f"task {self._task.name!r} declares serializer={self.serializer!r} here, but the "
                f"run was written with {serializer!r}: declare the same on both sides"
            )
