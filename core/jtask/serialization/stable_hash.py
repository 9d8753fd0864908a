"""A hash of values that is the same in every process, on every machine and interpreter."""

import hashlib
import json
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import BuiltinFunctionType, FunctionType
from typing import Any, cast

from jtask.serialization.tags import tagged

_SEQUENCES = (list, tuple, deque)
_SETS = (set, frozenset)
_MAPPINGS = (dict, OrderedDict, Counter)


def stable_hash(*values: Any) -> str:
    """Return a hash of values, 64 hexadecimal digits.

    Values of different types are different, and so are those of a class from those of another: 1 is
    neither 1.0 nor True. The order of a set or a mapping counts for nothing.

    Args:
        values: JSON, what the standard library makes of it (see `jtask.serialization.tags`), enums,
            dataclasses and pydantic models of these; functions and classes by their names.

    Raises:
        TypeError: One contains something else.
        ValueError: One contains itself, or a time in a zone that has no name.
    """
    try:
        text = _text(list(values))
    except RecursionError:
        raise ValueError("it contains itself, or is nested too deeply") from None
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _text(value: Any) -> str:
    return json.dumps(_form(value), ensure_ascii=False, separators=(",", ":"))


def _form(value: Any) -> Any:
    kind = cast("type[object]", type(value))
    if kind in _SEQUENCES:
        return [kind.__name__, *map(_form, value)]
    if kind in _SETS:
        return [kind.__name__, *sorted(map(_text, value))]
    if kind in _MAPPINGS:
        return [kind.__name__, *_pairs(value)]
    if isinstance(value, Enum):
        return ["enum", _name(kind), value.name]
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return ["named", _name(value)]
    members = _members(value)
    if members is not None:
        return ["object", _name(kind), *_pairs(members)]
    return tagged(value)


def _pairs(mapping: Mapping[Any, Any]) -> list[list[str]]:
    return sorted([_text(key), _text(value)] for key, value in mapping.items())


def _members(value: Any) -> Mapping[str, Any] | None:
    """Return what an object of a declared class consists of; None for any other."""
    if _is_model(value):
        return dict(value)
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return None


def _is_model(value: object) -> bool:
    # Without an import of pydantic, which is slow: its models have this.
    return hasattr(type(value), "__pydantic_validator__") and hasattr(value, "model_dump")


def _name(thing: Any) -> str:
    name = f"{thing.__module__}.{thing.__qualname__}"
    if "<" in name:
        raise TypeError(f"{name} has no name by which other processes know it")
    return name
