"""How arguments travel."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from jtask.declaration.definition import SerializerName
from jtask.errors import SerializationError
from jtask.nested_values import replace_nested
from jtask.serialization.holes import NOTHING, Fillings, Hole
from jtask.serialization.results import pickled, unpickled
from jtask.serialization.signatures import CallSignature
from jtask.serialization.unsendable import instead_of


class ArgumentCodec:
    """Arguments of one task to bytes and back, the way that the task declares.

    Building one takes a millisecond, so it is done when a task is first used.

    Args:
        fn: The task's function, or a callable object.
        task_name: For messages.
        serializer: The task's own; a message never chooses.
        owner: The class that a method belongs to: the type of `self`, the bound of `cls`.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        task_name: str,
        serializer: SerializerName,
        owner: type | None = None,
    ) -> None:
        self._call = CallSignature(fn, task_name, owner)
        self._arguments = _arguments(self._call, serializer, owner)

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Check and serialise the arguments of one call.

        Args:
            args: Positional arguments; a method's receiver comes first.
            kwargs: Keyword arguments.

        Returns:
            bytes: The payload of the run's message.

        Raises:
            ArgumentError: They do not fit the signature.
            SerializationError: One would not survive the trip; the message says which.
        """
        return self._arguments.encode(args, kwargs)

    def encode_many(self, calls: Sequence[tuple[Any, ...]]) -> list[bytes]:
        """Do `encode` for many calls, each given by its positional arguments.

        Raises:
            ArgumentError: As for `encode`.
            SerializationError: As for `encode`.
        """
        return self._arguments.encode_many(calls)

    def encode_open(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Do `encode` for arguments with holes, which are checked when they are filled.

        Args:
            args: Positional arguments; anywhere inside there may be a `Hole`.
            kwargs: Keyword arguments, likewise.

        Raises:
            ArgumentError: As for `encode`.
            SerializationError: As for `encode`.
        """
        return self._arguments.encode_open(args, kwargs)

    def by_name(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments by parameter name, those of `*args` and `**kwargs` under theirs.

        Raises:
            ArgumentError: They do not fit the signature.
        """
        return self._call.bind_strictly(args, kwargs)

    def decode(
        self, payload: bytes, fillings: Fillings = NOTHING
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what to call the function with.

        Args:
            payload: What `encode` or `encode_open` returned, here or elsewhere; JSON from any
                language.
            fillings: What goes into its holes.

        Returns:
            tuple: Positional arguments, and keyword arguments.

        Raises:
            ArgumentError: The payload does not fit the signature.
            SerializationError: It cannot be read.
        """
        return self._arguments.decode(payload, fillings)


class _Arguments(Protocol):
    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes: ...

    def encode_many(self, calls: Sequence[tuple[Any, ...]]) -> list[bytes]: ...

    def encode_open(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes: ...

    def decode(
        self, payload: bytes, fillings: Fillings
    ) -> tuple[tuple[Any, ...], dict[str, Any]]: ...


class _PickledArguments:
    def __init__(self, call: CallSignature) -> None:
        self._call = call

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        # A wrong call is refused here, where the mistake is, and not by the worker.
        record = self._call.bind_strictly(args, kwargs)
        try:
            return pickled((args, dict(kwargs)))
        except Exception as error:  # a value's own pickling may raise anything
            raise self._unpicklable(record, error) from error

    encode_open = encode

    def encode_many(self, calls: Sequence[tuple[Any, ...]]) -> list[bytes]:
        return [self.encode(args, {}) for args in calls]

    def decode(self, payload: bytes, fillings: Fillings) -> tuple[tuple[Any, ...], dict[str, Any]]:
        content = unpickled(payload, f"the arguments of task {self._call.task_name!r}")
        try:
            args, kwargs = content
        except (TypeError, ValueError):
            task = self._call.task_name
            raise SerializationError(f"the pickle for task {task!r} holds no arguments") from None
        if fillings:
            args, kwargs = _filled(args, fillings), _filled(kwargs, fillings)
        self._call.bind_strictly(args, kwargs)
        return args, kwargs

    def _unpicklable(self, record: dict[str, Any], error: Exception) -> SerializationError:
        task = self._call.task_name
        subject, culprit = f"an argument of task {task!r}", None
        for name, value in record.items():
            try:
                pickled(value)
            except Exception as cause:
                subject, culprit, error = f"argument {name!r} of task {task!r}", value, cause
                break
        ways = instead_of(culprit, "pass what it is made of, and make it in the function")
        return SerializationError(
            f"{subject} cannot be pickled, {type(error).__name__}: {error}: {ways}"
        )


def _filled(value: Any, fillings: Fillings) -> Any:
    values = {run_id: one.load() for run_id, one in fillings.items()}
    return replace_nested(value, Hole, lambda hole, _: values[hole.run_id])


def _arguments(call: CallSignature, serializer: SerializerName, owner: type | None) -> _Arguments:
    if serializer == "cloudpickle":
        return _PickledArguments(call)
    from jtask.serialization.json_arguments import JsonArguments  # imports pydantic

    return JsonArguments(call, owner)
