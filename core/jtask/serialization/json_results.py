"""Results as JSON, checked by their annotations.

Importing this imports pydantic: do it where it is first needed.
"""

from collections.abc import Callable
from typing import Any

from jtask.errors import SerializationError, TaskDefinitionError
from jtask.serialization.iterables import is_one_shot
from jtask.serialization.json_losses import OTHERWISE, cannot_dump, loss, losses, reason_of
from jtask.serialization.json_safety import lossless_up_to
from jtask.serialization.json_types import at, dropped_key, type_of
from jtask.serialization.round_trip import Difference
from jtask.serialization.signatures import result_annotation
from jtask.serialization.tagged_json import tagged_result
from jtask.serialization.tags import is_tagged_result, read_result

_NEVER_SENT = frozenset({"is-instance", "is-subclass", "callable"})
"""Schemas of what pydantic can only check, not write."""


class JsonResults:
    """The results of one task as JSON, checked by its return annotation.

    Args:
        fn: The task's function.
        task_name: For messages.
        subject: What the values are, for messages; None for results of the task.
        annotation: The type of what a generator yields; None for what a function returns.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        task_name: str,
        subject: str | None = None,
        annotation: Any = None,
    ) -> None:
        self._task_name = task_name
        self._subject = subject or f"the result of task {task_name!r}"
        self._ways = f"annotate what the function returns, {OTHERWISE}"
        self._gives = "return" if annotation is None else "yield"
        self._annotation = result_annotation(fn) if annotation is None else annotation
        self._type = type_of(self._annotation)
        self._check = self._type.check
        self._dump = self._type.dump
        self._load = self._type.load
        self._lossless = lossless_up_to(self._type.schema)

    def encode(self, value: Any) -> bytes:
        """Check and serialise what the function returned.

        Raises:
            SerializationError: It is not what is annotated, or would not survive the trip.
        """
        try:
            checked = self._check(value)
        except Exception as error:  # a validator in an annotation may raise anything
            raise self._unfit(error) from None
        if self._type.typed_dicts and (place := dropped_key(value, checked)):
            text = f"has a key {place[-1]!r} that its TypedDict does not declare"
            raise SerializationError(f"{self._subject} {text}{at(place[:-1], before=' ')}")
        try:
            payload = self._dump(checked)
        except Exception as error:  # so may a serializer
            text = cannot_dump(checked, error, self._ways)
            return self._with_tags(checked, SerializationError(f"{self._subject} {text}"))
        if len(payload) > self._lossless or is_tagged_result(payload):
            refusal = self._try_the_trip(checked, payload)
            return payload if refusal is None else self._with_tags(checked, refusal)
        return payload

    def check_annotation(self) -> None:
        """Refuse a return annotation no value of which can be sent.

        Raises:
            TaskDefinitionError: Naming it, and the ways out.
        """
        schema = self._type.schema
        unknown = schema["type"] in _NEVER_SENT and "serialization" not in schema
        if not unknown and not is_one_shot(self._annotation):
            return
        kind = getattr(self._annotation, "__qualname__", None) or str(self._annotation)
        raise TaskDefinitionError(
            f"task {self._task_name!r} is declared to {self._gives} {kind}, which cannot be sent "
            f"as JSON: {self._gives} something else, {OTHERWISE}"
        )

    def decode(self, payload: bytes) -> Any:
        """Return the result.

        Raises:
            SerializationError: The payload is not what is annotated, or not JSON.
        """
        try:
            if is_tagged_result(payload):
                return self._check(read_result(payload))
            return self._load(payload)
        except Exception as error:  # a validator in an annotation may raise anything
            raise self._unfit(error) from None

    def _with_tags(self, checked: Any, refusal: SerializationError) -> bytes:
        written = tagged_result(self._type, checked)
        if isinstance(written, bytes):
            return written
        # Of a value that cannot be put together again, the refusal says more.
        known = written and written[0].back is not None
        raise self._loss_of_result(written[0]) if known else refusal

    def _try_the_trip(self, checked: Any, payload: bytes) -> SerializationError | None:
        """Return why plain JSON would not do; None if it does."""
        if is_tagged_result(payload):
            return SerializationError(f"{self._subject} has the form of a tag: {self._ways}")
        try:
            lost = losses(self._type, checked, payload)
        except Exception as error:
            text = f"would not come back, {reason_of(error)}: {self._ways}"
            return SerializationError(f"{self._subject} {text}")
        return self._loss_of_result(lost[0]) if lost else None

    def _loss_of_result(self, found: Difference) -> SerializationError:
        return SerializationError(f"{self._subject} {loss(found, self._ways)}")

    def _unfit(self, error: Exception) -> SerializationError:
        return SerializationError(f"{self._subject} {reason_of(error)}")
