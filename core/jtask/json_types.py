"""What pydantic builds from annotations: a check, a JSON writer and a JSON reader.

This module imports pydantic, so import it where it is first needed.
"""

import enum
import reprlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, cast

from pydantic import ConfigDict, PlainSerializer, PlainValidator, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from typing_extensions import NotRequired, TypeAliasType, TypedDict

from jtask.round_trip import Difference, differences

_CONFIG = ConfigDict(
    arbitrary_types_allowed=True,
    extra="forbid",
    populate_by_name=True,
    ser_json_bytes="base64",
    val_json_bytes="base64",
    ser_json_inf_nan="constants",
)
_ALWAYS = sys.maxsize
_NEVER = -1
_INT_DIGITS = 4300  # longer numbers are refused by JSON readers
_LOSSLESS = frozenset({"str", "float", "bool", "none", "bytes", "uuid", "decimal", "date"})
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 60

_make_typed_dict = cast(Callable[[str, dict[str, Any]], type], TypedDict)


class JsonType:
    """One annotation's way to JSON and back.

    Attributes:
        check: Return a value as its annotation wants it, or raise.
        load: Read JSON bytes, or raise.
        lossless_up_to: A value whose JSON is no longer than this surely comes back the same.
    """

    def __init__(self, adapter: TypeAdapter[Any]) -> None:
        self.check = adapter.validator.validate_python
        self.load = adapter.validator.validate_json
        self.lossless_up_to = lossless_up_to(adapter.core_schema)
        self._to_json = adapter.serializer.to_json

    def dump(self, value: Any) -> bytes:
        """Return a checked value as JSON, or raise."""
        return self._to_json(value, by_alias=True, round_trip=True, warnings=False)

    def losses(self, value: Any, payload: bytes) -> list[Difference]:
        """Return how a checked value would differ after its trip, or raise."""
        back = self.load(payload)
        found = list(differences(value, back))
        if all(d.undecided for d in found) and self.dump(back) == payload:
            return []
        return found


def type_of(annotation: Any) -> JsonType:
    """Build one annotation's type; what pydantic cannot build counts as Any."""
    # Under an alias, for the configuration may not be given for a dataclass itself.
    for candidate in (annotation, Any):
        try:
            return _complete(TypeAdapter(TypeAliasType("Value", candidate), config=_CONFIG))
        except Exception:  # pydantic's, or whatever evaluating a type raises
            continue
    raise AssertionError("pydantic cannot build Any")


def record_type(fields: Mapping[str, Any], optional: Iterable[str]) -> JsonType:
    """Build the type of a record, of which some fields may be left out."""
    optional = frozenset(optional)
    shape = {n: NotRequired[a] if n in optional else a for n, a in fields.items()}
    record = _make_typed_dict("Arguments", shape)
    record.__pydantic_config__ = _CONFIG  # type: ignore[attr-defined]
    return _complete(TypeAdapter(record))


def is_buildable(annotation: Any) -> bool:
    """Tell whether pydantic can build a field of this annotation."""
    try:
        record_type({"field": annotation}, ())
    except Exception:  # pydantic's, or whatever evaluating a type raises
        return False
    return True


def class_reference(owner: type) -> Any:
    """Return an annotation for a class: `owner` or one below it, by name on the wire."""

    def find(value: Any) -> type:
        if isinstance(value, type) and issubclass(value, owner):
            return cast(type, value)
        for known in _family(owner):
            if value == _reference(known):
                return known
        raise ValueError(f"name {owner.__qualname__} or a subclass known here")

    return Annotated[Any, PlainValidator(find), PlainSerializer(_reference)]


def describe(error: ErrorDetails, depth: int) -> str:
    """Say what one error wants: `must be a valid integer, got 'wide' (str)`.

    Args:
        error: One of `ValidationError.errors()`.
        depth: How many steps of its location the sentence has named already.
    """
    place = ".".join(str(step) for step in error["loc"][depth:])
    text = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    wish = text.removeprefix("Input should ")
    wish = f"must {wish}" if wish != text else f"is wrong: {text[:1].lower()}{text[1:]}"
    value = error["input"]
    return f"{f'(at {place}) ' if place else ''}{wish}, got {brief(value)}"


def others(error: ValidationError) -> str:
    """Count the errors after the first: ` (and 2 more errors)`; empty when there are none."""
    more = error.error_count() - 1
    return f" (and {more} more error{'s' if more > 1 else ''})" if more else ""


def brief(value: Any) -> str:
    """Show a value in a few words: `'wide' (str)`."""
    return f"{_BRIEF.repr(value)} ({type(value).__name__})"


def lossless_up_to(schema: Any) -> int:
    """Return how long the JSON of a value may be to be surely lossless, from a core schema.

    True by construction only for closed exact types: check made the value exactly that, and its
    text determines it. Unions, models, datetimes (zones) and all custom logic are left to a trial.
    """
    if "serialization" in schema or schema.get("strict") or "config" in schema.get("cls", ()):
        return _NEVER
    kind = schema["type"]
    if kind in _LOSSLESS:
        return _ALWAYS
    if kind == "int":
        return _INT_DIGITS
    if kind == "nullable":
        return lossless_up_to(schema["schema"])
    if kind in ("list", "set", "frozenset"):
        return lossless_up_to(schema["items_schema"]) if "items_schema" in schema else _NEVER
    if kind == "tuple":
        return min(map(lossless_up_to, schema["items_schema"]), default=_ALWAYS)
    if kind == "dict":
        return _lossless_dict(schema)
    if kind == "literal":
        return _of_one_kind(schema["expected"])
    if kind == "enum":
        return _lossless_enum(schema["cls"])
    return _NEVER
