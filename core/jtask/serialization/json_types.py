"""What pydantic builds from annotations: a check, a JSON writer and a JSON reader.

Importing this imports pydantic: do it where it is first needed.
"""

import reprlib
from collections.abc import Callable, Container, Iterable, Mapping
from functools import partial
from typing import Annotated, Any, NotRequired, cast

from pydantic import ConfigDict, GetCoreSchemaHandler, PlainSerializer, PlainValidator, TypeAdapter
from pydantic_core import ErrorDetails
from typing_extensions import TypeAliasType

from jtask.declaration.keys import canonical_module
from jtask.serialization.iterables import repeatable
from jtask.serialization.json_safety import is_closed
from jtask.serialization.typed_dicts import acceptable, make_typed_dict

# What makes the trip exact: bytes as base64 instead of UTF-8, NaN and infinities by their names.
# The rest accepts what tasks are called with: any class, and models by the names of their fields.
_CONFIG = ConfigDict(
    arbitrary_types_allowed=True,
    populate_by_name=True,
    ser_json_bytes="base64",
    val_json_bytes="base64",
    ser_json_inf_nan="constants",
)
_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 60

_make_alias = cast("Callable[[str, Any], Any]", TypeAliasType)


class JsonType:
    """The way of one type to JSON and back.

    Attributes:
        check: Return a value as the type wants it, or raise ValidationError.
        dump: Return a checked value as JSON, or raise whatever its serializers raise.
        load: Read JSON bytes as the type, or raise ValidationError.
        schema: The core schema.
        typed_dicts: How many TypedDicts it has; the check drops what they do not declare.
    """

    def __init__(self, adapter: TypeAdapter[Any]) -> None:
        if not adapter.pydantic_complete:
            raise TypeError("a name in the annotation is not defined")
        self.check = adapter.validator.validate_python
        self.load = adapter.validator.validate_json
        schema: Any = adapter.core_schema
        self.typed_dicts = _count_typed_dicts(schema)
        self.schema = schema["schema"] if schema["type"] == "definitions" else schema
        self.dump: Callable[[Any], bytes] = adapter.serializer.to_json
        # Where they change nothing, these options would take as long as the dumping itself.
        if not is_closed(self.schema):
            # `round_trip` leaves out computed fields, which no model takes back. No warnings: the
            # value has been checked.
            self.dump = partial(self.dump, by_alias=True, round_trip=True, warnings=False)
        self._to_python = adapter.serializer.to_python

    def take_apart(self, value: Any) -> Any:
        """Return a checked value with dicts in place of what has fields, or raise as `dump` does.

        `check` puts it together again.
        """
        return self._to_python(value, by_alias=True, round_trip=True, warnings=False)


def _count_typed_dicts(schema: Any) -> int:
    if isinstance(schema, list | tuple):
        return sum(map(_count_typed_dicts, cast("Iterable[Any]", schema)))
    if not isinstance(schema, dict):
        return 0
    fields = cast("Mapping[str, Any]", schema)
    # Not what a schema only mentions, such as a default value.
    inner = [value for name, value in fields.items() if name not in {"metadata", "default"}]
    return (fields.get("type") == "typed-dict") + _count_typed_dicts(inner)


def dropped_key(given: Any, checked: Any) -> tuple[Any, ...] | None:
    """Return the place of a key that a check has left out, as of an undeclared one of a TypedDict.

    Args:
        given: A value.
        checked: What the check made of it.
    """
    pairs: Iterable[tuple[Any, Any, Any]] = ()
    if isinstance(given, dict) and isinstance(checked, dict):
        fields, kept = cast("Mapping[Any, Any]", given), cast("Mapping[Any, Any]", checked)
        if len(fields) > len(kept):
            return (next(key for key in fields if key not in kept),)
        pairs = ((key, value, kept[key]) for key, value in fields.items() if key in kept)
    elif isinstance(given, list | tuple) and isinstance(checked, list | tuple):
        items = zip(cast("list[Any]", given), cast("list[Any]", checked), strict=False)
        pairs = ((index, *pair) for index, pair in enumerate(items))
    for step, value, other in pairs:
        if (place := dropped_key(value, other)) is not None:
            return (step, *place)
    return None


def type_of(annotation: Any) -> JsonType:
    """Return an annotation's type; what pydantic cannot build counts as Any."""
    try:
        return JsonType(_adapter(acceptable(repeatable(annotation))))
    except Exception:  # pydantic's, or whatever evaluating a type raises
        return JsonType(TypeAdapter(Any, config=_CONFIG))


def record_type(fields: Mapping[str, Any], optional: Container[str]) -> JsonType:
    """Return the type of a record, some fields of which may be left out."""
    types = {name: acceptable(repeatable(annotation)) for name, annotation in fields.items()}
    shape = {n: NotRequired[t] if n in optional else t for n, t in types.items()}
    record = make_typed_dict("Arguments", shape)
    return JsonType(_adapter(Annotated[record, _Closed()]))


def buildable(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's annotations, with Any for those that pydantic cannot build."""
    return {name: a if _is_buildable(a) else Any for name, a in fields.items()}


def class_reference(owner: type) -> Any:
    """Return an annotation for a class: `owner` or one below it, by its name on the wire.

    Only classes that exist already are found: nothing is imported because a message names it.
    """

    def find(value: Any) -> type[Any]:
        if isinstance(value, type) and issubclass(value, owner):
            return value
        for known in _family(owner):
            if value == class_name(known):
                return known
        raise ValueError(f"not {owner.__qualname__} or a subclass that is loaded")

    return Annotated[Any, PlainValidator(find), PlainSerializer(class_name)]


def class_name(cls: type) -> str:
    """Return a class's name on the wire, `module:qualname`."""
    return f"{canonical_module(cls.__module__)}:{cls.__qualname__}"


def describe(error: ErrorDetails, depth: int = 0) -> str:
    """Say what a value must be: `must be a valid integer, got 'wide' (str)`.

    Args:
        error: One of `ValidationError.errors()`.
        depth: How many steps of its location the sentence has named already.
    """
    text = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    text = text.partition(", unable to parse")[0]
    rule = text.removeprefix("Input should ")
    if error["type"] == "needs_python_object":
        said = "is annotated with a class that JSON cannot carry"
    else:
        said = f"must {rule}" if rule != text else f"is wrong: {_in_a_sentence(text)}"
    return f"{at(error['loc'][depth:], after=' ')}{said}, got {brief(error['input'])}"


def _in_a_sentence(text: str) -> str:
    # Not a word such as UUID.
    return text if text[:2].isupper() else f"{text[:1].lower()}{text[1:]}"


def at(steps: tuple[Any, ...], *, before: str = "", after: str = "") -> str:
    """Name a place inside a value, `(at 3.name)`; empty for the value itself."""
    return f"{before}(at {'.'.join(map(str, steps))}){after}" if steps else ""


def brief(value: Any) -> str:
    """Show a value in a few words: `'wide' (str)`."""
    kind = type(value).__name__
    try:
        return f"{_brief.repr(value)} ({kind})"
    except Exception:  # its own __repr__, or a number too long to print
        return f"a value of type {kind}"


class _Closed:
    """Make a record refuse unknown names, but not the dataclasses and TypedDicts inside it.

    Their configuration would be inherited, and a dataclass writes the fields that its `__init__`
    does not take.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        schema = handler(source)
        resolved: Any = handler.resolve_ref_schema(schema)
        resolved["extra_behavior"] = "forbid"
        return schema


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    # Through an alias, for a dataclass or TypedDict itself may not be given a configuration.
    return TypeAdapter(_make_alias("Value", annotation), config=_CONFIG)


def _is_buildable(annotation: Any) -> bool:
    try:
        record_type({"field": annotation}, ())
    except Exception:  # pydantic's, or whatever evaluating a type raises
        return False
    return True


def _family(owner: type) -> list[type]:
    family = [owner]
    for cls in family:  # grows while it is walked
        below: list[type] = cls.__subclasses__()
        family += [sub for sub in below if sub not in family]
    return family
