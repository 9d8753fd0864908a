"""How results travel, and the pickling that arguments and results share."""

import importlib
import pickle
import sys
from collections.abc import Callable
from typing import Any, Protocol

from jtask.declaration.definition import SerializerName
from jtask.errors import ResultError, SerializationError
from jtask.serialization.unsendable import instead_of

_WRITTEN_BY = b"Python "
_THIS_PYTHON = b"Python %d.%d" % sys.version_info[:2]


class ResultCodec:
    """Results of one task to bytes and back, the way that the task declares.

    Args:
        fn: The task's function; its return annotation says what JSON comes back as.
        task_name: For messages.
        serializer: The task's own; a message never chooses.
        subject: What the values are, for messages; None for results of the task.
        annotation: Says what JSON comes back as; None for what the function is annotated to return.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        task_name: str,
        serializer: SerializerName,
        subject: str | None = None,
        annotation: Any = None,
    ) -> None:
        about = subject or f"the result of task {task_name!r}"
        self._results = _results(fn, task_name, serializer, about, annotation)

    def encode(self, value: Any) -> bytes:
        """Serialise what the function returned.

        Args:
            value: The value; for JSON it is checked by the return annotation.

        Returns:
            bytes: The payload of the outcome.

        Raises:
            ResultError: It is not what is annotated, or would not survive the trip.
        """
        try:
            return self._results.encode(value)
        except SerializationError as error:
            # The work is done: unlike what goes wrong on the way, another attempt mends nothing.
            raise ResultError(str(error)) from error.__cause__

    def check_annotation(self) -> None:
        """Refuse a task that is declared to return what can never be sent.

        Raises:
            TaskDefinitionError: Naming it, and the ways out.
        """
        self._results.check_annotation()

    def decode(self, payload: bytes) -> Any:
        """Return the result.

        Raises:
            SerializationError: The payload cannot be read, or is not what is annotated.
        """
        return self._results.decode(payload)


def read_untyped(payload: bytes, subject: str) -> Any:
    """Return a result that was written as JSON, without the task that returned it.

    Args:
        payload: The JSON, with or without tags.
        subject: What it is, for the message.

    Raises:
        SerializationError: It cannot be read; the message starts with the subject.
    """
    from jtask.serialization.tags import read_result

    try:
        return read_result(payload)
    except Exception as error:  # of whatever type a tag names
        text = f"cannot be read, {type(error).__name__}: {error}"
        raise SerializationError(f"{subject} {text}") from None


def pickled(value: Any) -> bytes:
    """Return a value as a pickle, classes and functions of `__main__` included; or raise.

    Before it is a line that says which Python has written it.
    """
    # Imported here: it costs time, and few tasks need it.
    cloudpickle: Any = importlib.import_module("cloudpickle")
    data: bytes = cloudpickle.dumps(value)
    return b"%b\n%b" % (_THIS_PYTHON, data)


def unpickled(payload: bytes, subject: str) -> Any:
    """Return what was pickled.

    Only for tasks whose own code declares cloudpickle: a pickle can run anything.

    Args:
        payload: The pickle.
        subject: What it is, for the message.

    Raises:
        SerializationError: It cannot be read here, or another minor version of Python wrote it; the
            message starts with the subject.
    """
    data = _of_this_python(payload, subject)
    try:
        return pickle.loads(data)
    except Exception as error:  # reading a pickle calls whatever it names
        text = f"cannot be unpickled, {type(error).__name__}: {error}"
        raise SerializationError(f"{subject} {text}") from error


def _of_this_python(payload: bytes, subject: str) -> bytes:
    if not payload.startswith(_WRITTEN_BY):
        return payload  # from before this was said, or what is no pickle at all
    written_by, _, data = payload.partition(b"\n")
    if written_by != _THIS_PYTHON:
        # It holds bytecode where functions travel; that of another version can crash the process.
        other = written_by[:40].decode("ascii", "replace")
        raise SerializationError(
            f"{subject} cannot be unpickled: written by {other}, this is {_THIS_PYTHON.decode()}; "
            f"run callers and workers with the same minor version"
        )
    return data


class _Results(Protocol):
    def check_annotation(self) -> None: ...

    def encode(self, value: Any) -> bytes: ...

    def decode(self, payload: bytes) -> Any: ...


class _PickledResults:
    def __init__(self, subject: str) -> None:
        self._subject = subject

    def check_annotation(self) -> None:
        """Accept any: a pickle carries nearly everything."""

    def encode(self, value: Any) -> bytes:
        try:
            return pickled(value)
        except Exception as error:  # a value's own pickling may raise anything
            kind = type(value).__name__
            ways = instead_of(value, "return what it is made of")
            text = f"({kind}) cannot be pickled, {type(error).__name__}: {error}: {ways}"
            raise SerializationError(f"{self._subject} {text}") from error

    def decode(self, payload: bytes) -> Any:
        return unpickled(payload, self._subject)


def _results(
    fn: Callable[..., Any],
    task_name: str,
    serializer: SerializerName,
    subject: str,
    annotation: Any,
) -> _Results:
    if serializer == "cloudpickle":
        return _PickledResults(subject)
    from jtask.serialization.json_results import JsonResults  # imports pydantic

    return JsonResults(fn, task_name, subject, annotation)
