"""Read the fields of a message that anybody may have written, in any language.

Each reader returns a value of its type within its bounds, or raises an `EnvelopeError` that quotes
no more than a few words: what it says goes into outcomes, dead letters and logs.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from pydantic_core import from_json, to_json

from jtask.errors import EnvelopeError
from jtask.foreign_text import quoted, sendable
from jtask.names import LONGEST_NAME

LATEST = 253_402_300_799.0
"""The end of the year 9999, in seconds since the epoch: no calendar of Python's goes further."""

_MOST = 1 << 53  # beyond, JSON's numbers are not exact

T = TypeVar("T")


def json_object(line: bytes) -> dict[str, Any]:
    """Read a line that is one JSON object."""
    try:
        # NaN and Infinity are no JSON, and no instant either.
        found = from_json(line, allow_inf_nan=False)
    except ValueError:
        raise EnvelopeError("the first line is not JSON") from None
    if not isinstance(found, dict):
        raise EnvelopeError("the first line is not a JSON object")
    return cast("dict[str, Any]", found)


def known_fields(body: bytes) -> dict[str, Any]:
    """Return the fields of a JSON object; none where a record or a question is no such thing."""
    try:
        return json_object(body)
    except EnvelopeError:
        return {}


def json_line(head: Mapping[str, Any]) -> bytes:
    """Return a JSON object as one line.

    A file's name, and so an exception or a tag, may have halves of characters in it, which UTF-8
    cannot carry: that must not hide how a run ended.
    """
    try:
        return to_json(head)
    except ValueError:
        return to_json(_sendable(head))


def text(value: object) -> str:
    """Read a string of any length."""
    if not isinstance(value, str):
        raise EnvelopeError(f"expected a string, got {quoted(value)}")
    return value


def name(value: object) -> str:
    """Read a string that names something."""
    if not isinstance(value, str):
        raise EnvelopeError(f"expected a string, got {quoted(value)}")
    if len(value) > LONGEST_NAME:
        raise EnvelopeError(f"expected at most {LONGEST_NAME} characters, got {quoted(value)}")
    return value


def seconds(value: object) -> float:
    """Read an instant or a length of time."""
    found = _number(float, value)
    # Not so for NaN either.
    if not 0.0 <= found <= LATEST:
        raise EnvelopeError(f"expected seconds from 0 to the year 9999, got {quoted(value)}")
    return found


def number(value: object) -> float:
    """Read a finite number."""
    found = _number(float, value)
    if not math.isfinite(found):  # JSON has 1e999
        raise EnvelopeError(f"expected a finite number, got {quoted(value)}")
    return found


def count(value: object) -> int:
    """Read a whole number that counts something: attempts, bytes."""
    found = _number(int, value)
    if not 0 <= found <= _MOST:
        raise EnvelopeError(f"expected a number from 0 to {_MOST}, got {quoted(value)}")
    return found


def attempt(value: object) -> int:
    """Read the number of an attempt, from 1."""
    found = count(value)
    if found < 1:
        raise EnvelopeError("expected the number of an attempt, from 1, got 0")
    return found


def items(value: object) -> list[Any]:
    """Read a list."""
    if not isinstance(value, list):
        raise EnvelopeError(f"expected a list, got {quoted(value)}")
    return list(cast("Iterable[Any]", value))


def mapping(value: object) -> dict[str, Any]:
    """Read an object."""
    if not isinstance(value, dict):
        raise EnvelopeError(f"expected an object, got {quoted(value)}")
    return cast("dict[str, Any]", value)


def if_given(read: Callable[[Any], T], value: object) -> T | None:
    """Read a field that may be null or missing."""
    return None if value is None else read(value)


def _sendable(value: Any) -> Any:
    if isinstance(value, str):
        return sendable(value)
    if isinstance(value, dict):
        return {_sendable(key): _sendable(inner) for key, inner in value.items()}  # pyright: ignore
    if isinstance(value, list | tuple):
        return [_sendable(inner) for inner in cast("Iterable[Any]", value)]
    return value


def _number(kind: Callable[[Any], T], value: object) -> T:
    try:
        return kind(value)
    # Of int() and float(): another type or text, an infinity, thousands of digits.
    except (TypeError, ValueError, OverflowError):
        raise EnvelopeError(f"expected a number, got {quoted(value)}") from None


def finite(value: object) -> float | None:
    """Return a number that can be calculated with; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # hundreds of digits
        return None
