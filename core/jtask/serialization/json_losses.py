"""What plain JSON would change of a value, and how to say so in a sentence.

Importing this imports pydantic: do it where it is first needed.
"""

from types import NoneType
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from jtask.serialization.json_types import JsonType, at, brief, describe
from jtask.serialization.round_trip import Difference, differences
from jtask.serialization.unsendable import instead_of

OTHERWISE = 'or declare the task with @task(serializer="cloudpickle")'
"""The last way out."""


def losses(kind: JsonType, value: Any, payload: bytes) -> list[Difference]:
    """Return how a checked value would differ after its trip."""
    back = kind.load(payload)
    found = list(differences(value, back))
    # What defines no equality is the same when its JSON is.
    if found and all(d.undecided for d in found) and kind.dump(back) == payload:
        return []
    return [d for d in found if not d.undecided] or found


def loss(found: Difference, ways: str) -> str:
    """Say what a value would come back as, and the ways out."""
    # A field has its annotation already: the value does not keep to it.
    if found.place and type(found.back) not in (type(found.sent), NoneType):
        ways = f"put one of type {type(found.back).__name__} there, {ways}"
    return f"{_changed(found)}: {instead_of(found.sent, ways)}"


def cannot_dump(value: Any, error: Exception, ways: str) -> str:
    """Say why a value has no JSON, and the ways out."""
    reason = named(error)
    if isinstance(error, PydanticSerializationError):
        reason = str(error).removeprefix("Error serializing to JSON: ")
    ways = instead_of(value, ways)
    return f"({type(value).__name__}) cannot be sent as JSON, {reason}: {ways}"


def reason_of(error: Exception) -> str:
    """Say what a check or a reader found wrong."""
    if not isinstance(error, ValidationError):
        return f"cannot be checked: {named(error)}"
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return f"is not JSON: {first['msg']}"
    return f"{describe(first)}{others(error)}"


def others(error: ValidationError) -> str:
    """Say how many more errors there are than the first; empty for none."""
    more = error.error_count() - 1
    return f" (and {more} more error{'s' if more > 1 else ''})" if more else ""


def named(error: Exception) -> str:
    """Return `Type: message`."""
    return f"{type(error).__name__}: {error}"


def _changed(found: Difference) -> str:
    if not found.place and type(found.sent) is not type(found.back):
        return f"would come back as {type(found.back).__name__}, not {type(found.sent).__name__}"
    place = at(found.place, before=" ")
    return f"would come back with {brief(found.back)} in place of {brief(found.sent)}{place}"
