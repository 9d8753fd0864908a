"""Arguments and results as JSON, checked by their annotations.

Importing this imports pydantic: do it where it is first needed.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from jtask.errors import ArgumentError, JTaskError, SerializationError
from jtask.serialization.json_safety import lossless_up_to
from jtask.serialization.json_types import (
    JsonType,
    at,
    brief,
    buildable,
    class_reference,
    describe,
    record_type,
    type_of,
)
from jtask.serialization.round_trip import Difference, differences
from jtask.serialization.signatures import CallSignature, result_annotation

_OTHERWISE = 'or declare the task with @task(serializer="cloudpickle")'


class JsonArguments:
    """The arguments of one task as one JSON object by parameter name.

    Args:
        call: The task function's signature.
        owner: The class that a method belongs to.
    """

    def __init__(self, call: CallSignature, owner: type | None = None) -> None:
        self._call = call
        self._owner = owner
        self._fields = _field_annotations(call, owner)
        self._optional = _optional_names(call)
        self._record = self._build()
        self._check = self._record.check
        self._load = self._record.load
        self._dump = self._record.dump
        fields: Mapping[str, Any] = self._record.schema["fields"]
        self._lossless = {n: lossless_up_to(f["schema"]) for n, f in fields.items()}
        self._all_lossless = min(self._lossless.values(), default=lossless_up_to({"type": "none"}))

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Check and serialise the arguments of one call.

        Raises:
            ArgumentError: They do not fit the signature.
            SerializationError: One would not survive the trip.
        """
        # It may be incomplete: the check below finds that, and `_refusal` then says it in words.
        record = self._call.bind(args, kwargs)
        try:
            checked = self._check(record)
        except Exception as error:  # a validator in an annotation may raise anything
            raise self._refusal(error, args, kwargs) from None
        try:
            payload = self._dump(checked)
        except Exception as error:  # so may a serializer
            raise self._undumpable(checked, error) from None
        if len(payload) > self._all_lossless:
            self._try_the_trip(checked, payload)
        return payload

    def decode(self, payload: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what to call the function with.

        Raises:
            ArgumentError: The payload does not fit the signature.
            SerializationError: It is not JSON.
        """
        try:
            record = self._load(payload)
        except Exception as error:  # a validator in an annotation may raise anything
            raise self._wrong_values(error) from None
        return self._call.spread(record)

    def _build(self) -> JsonType:
        try:
            return record_type(self._fields, self._optional)
        except Exception:  # pydantic's, or whatever evaluating a type raises
            # One annotation that pydantic cannot build must not cost the other arguments their
            # checks.
            self._fields = buildable(self._fields)
            return record_type(self._fields, self._optional)

    @cached_property
    def _partial(self) -> JsonType:
        # For a part of the arguments, so none of them is required.
        return record_type(self._fields, self._fields)

    def _try_the_trip(self, checked: dict[str, Any], payload: bytes) -> None:
        doubtful = {n: v for n, v in checked.items() if len(payload) > self._lossless[n]}
        if len(doubtful) < len(checked):
            payload = self._partial.dump(doubtful)
        try:
            lost = _losses(self._partial, doubtful, payload)
        except Exception as error:
            raise self._no_way_back(doubtful, error) from None
        if lost:
            name, *place = lost[0].place
            found = lost[0]._replace(place=tuple(place))
            raise SerializationError(f"{self._subject(name)} {_loss(found)}: {self._ways(name)}")

    def _undumpable(self, checked: dict[str, Any], error: Exception) -> SerializationError:
        for name, value in checked.items():
            try:
                self._partial.dump({name: value})
            except Exception as cause:
                text = f"{_cannot_dump(value, cause)}: {self._ways(name)}"
                return SerializationError(f"{self._subject(name)} {text}")
        task = self._call.task_name
        return SerializationError(f"the arguments of task {task!r} cannot be sent as JSON: {error}")

    def _no_way_back(self, doubtful: dict[str, Any], error: Exception) -> SerializationError:
        name, reason = next(iter(doubtful)), str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            name, reason = str((first["loc"] or (name,))[0]), describe(first, 1)
        text = f"would not come back, what was sent {reason}: {self._ways(name)}"
        return SerializationError(f"{self._subject(name)} {text}")

    def _refusal(
        self, error: Exception, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> JTaskError:
        try:
            self._call.bind_strictly(args, kwargs)
        except ArgumentError as mismatch:
            return mismatch
        return self._wrong_values(error)

    def _wrong_values(self, error: Exception) -> JTaskError:
        if not isinstance(error, ValidationError):
            return self._call.error(f"cannot check its arguments: {_named(error)}")
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            task = self._call.task_name
            return SerializationError(
                f"the arguments of task {task!r} are not JSON: {first['msg']}"
            )
        if not first["loc"]:
            got = brief(first["input"])
            return self._call.error(f"takes one JSON object of arguments by name, got {got}")
        name = str(first["loc"][0])
        if first["type"] == "missing" and len(first["loc"]) == 1:
            return self._call.missing(name)
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
            return self._call.unknown(name)
        task = self._call.task_name
        text = f"task {task!r}: argument {name!r} {describe(first, 1)}{_others(error)}"
        return ArgumentError(text)

    def _subject(self, name: str) -> str:
        return f"argument {name!r} of task {self._call.task_name!r}"

    def _ways(self, name: str) -> str:
        if self._owner and name == self._call.receiver == "self":
            owner = self._owner.__qualname__
            return f"make {owner} a dataclass or a pydantic model, {_OTHERWISE}"
        if self._fields.get(name, Any) is Any:
            return f"annotate the parameter with its type, {_OTHERWISE}"
        return f"annotate the parameter with a type that survives JSON, {_OTHERWISE}"


class JsonResults:
    """The results of one task as JSON, checked by its return annotation.

    Args:
        fn: The task's function.
        task_name: For messages.
    """

    def __init__(self, fn: Callable[..., Any], task_name: str) -> None:
        self._subject = f"the result of task {task_name!r}"
        self._ways = f"annotate what the function returns, {_OTHERWISE}"
        self._type = type_of(result_annotation(fn))
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
        try:
            payload = self._dump(checked)
        except Exception as error:  # so may a serializer
            text = f"{_cannot_dump(checked, error)}: {self._ways}"
            raise SerializationError(f"{self._subject} {text}") from None
        if len(payload) > self._lossless:
            self._try_the_trip(checked, payload)
        return payload

    def decode(self, payload: bytes) -> Any:
        """Return the result.

        Raises:
            SerializationError: The payload is not what is annotated, or not JSON.
        """
        try:
            return self._load(payload)
        except Exception as error:  # a validator in an annotation may raise anything
            raise self._unfit(error) from None

    def _try_the_trip(self, checked: Any, payload: bytes) -> None:
        try:
            lost = _losses(self._type, checked, payload)
        except Exception as error:
            text = f"would not come back, {_reason(error)}: {self._ways}"
            raise SerializationError(f"{self._subject} {text}") from None
        if lost:
            raise SerializationError(f"{self._subject} {_loss(lost[0])}: {self._ways}")

    def _unfit(self, error: Exception) -> SerializationError:
        return SerializationError(f"{self._subject} {_reason(error)}")


def _field_annotations(call: CallSignature, owner: type | None) -> dict[str, Any]:
    fields = {name: call.annotations.get(name, Any) for name in call.signature.parameters}
    if owner is not None and call.receiver is not None:
        fields[call.receiver] = owner if call.receiver == "self" else class_reference(owner)
    return fields


def _optional_names(call: CallSignature) -> frozenset[str]:
    return frozenset(
        p.name
        for p in call.signature.parameters.values()
        if p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    )


def _losses(kind: JsonType, value: Any, payload: bytes) -> list[Difference]:
    """Return how a checked value would differ after its trip."""
    back = kind.load(payload)
    found = list(differences(value, back))
    # What defines no equality is the same when its JSON is.
    if found and all(d.undecided for d in found) and kind.dump(back) == payload:
        return []
    return [d for d in found if not d.undecided] or found


def _loss(found: Difference) -> str:
    if not found.place and type(found.sent) is not type(found.back):
        return f"would come back as {type(found.back).__name__}, not {type(found.sent).__name__}"
    place = at(found.place, before=" ")
    return f"would come back with {brief(found.back)} in place of {brief(found.sent)}{place}"


def _cannot_dump(value: Any, error: Exception) -> str:
    reason = _named(error)
    if isinstance(error, PydanticSerializationError):
        reason = str(error).removeprefix("Error serializing to JSON: ")
    if "invalid utf-8" in reason:
        # What a pydantic model holds is written by its own configuration.
        reason = (
            "it contains bytes that are not UTF-8 text: give its model model_config = "
            "ConfigDict(ser_json_bytes='base64', val_json_bytes='base64')"
        )
    return f"({type(value).__name__}) cannot be sent as JSON, {reason}"


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return f"cannot be checked: {_named(error)}"
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return f"is not JSON: {first['msg']}"
    return f"{describe(first)}{_others(error)}"


def _others(error: ValidationError) -> str:
    more = error.error_count() - 1
    return f" (and {more} more error{'s' if more > 1 else ''})" if more else ""


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
