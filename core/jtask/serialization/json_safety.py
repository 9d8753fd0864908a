"""Which values surely survive JSON, told from the core schema that pydantic built for them.

True by construction only for closed exact types: the check made the value exactly that, and its
text determines it. Unions, models, datetimes (their zones) and all custom logic are left to a
trial. The answer is a length: of JSON up to that many bytes a value needs no trial.
"""

import enum
import sys
from collections.abc import Sequence
from typing import Any

NEVER = -1
ALWAYS = sys.maxsize
_INT_DIGITS = 4300  # JSON readers refuse longer numbers

_EXACT = frozenset({"str", "float", "bool", "none", "bytes", "uuid", "decimal", "date"})
_PLAIN_FIELD = frozenset({"type", "schema", "required", "metadata"})  # one without an alias
_KEYS = frozenset({"str", "int"})


def lossless_up_to(schema: Any) -> int:
    """Return up to which length of its JSON a value of a schema needs no trial."""
    kind = schema["type"]
    if "serialization" in schema or schema.get("strict"):
        return NEVER
    if kind in _EXACT:
        return ALWAYS
    if kind == "int":
        return _INT_DIGITS
    if kind == "nullable":
        return lossless_up_to(schema["schema"])
    if kind in ("literal", "enum"):
        return _of_choices(schema)
    return _of_container(kind, schema)


def is_closed(schema: Any) -> bool:
    """Tell whether a schema is of such a type, or a record with such fields and nothing else."""
    if schema["type"] != "typed-dict":
        return lossless_up_to(schema) != NEVER
    return not schema.get("computed_fields") and all(
        field.keys() <= _PLAIN_FIELD and lossless_up_to(field["schema"]) != NEVER
        for field in schema["fields"].values()
    )


def _of_container(kind: str, schema: Any) -> int:
    if kind in ("list", "set", "frozenset"):
        return lossless_up_to(schema["items_schema"]) if "items_schema" in schema else NEVER
    if kind == "tuple":
        return min(map(lossless_up_to, schema["items_schema"]), default=ALWAYS)
    if kind == "dict" and schema.get("keys_schema", {}).get("type") in _KEYS:
        values = schema.get("values_schema", {"type": "any"})
        return min(lossless_up_to(schema["keys_schema"]), lossless_up_to(values))
    return NEVER


def _of_choices(schema: Any) -> int:
    if schema["type"] == "literal":
        return _of_one_kind(schema["expected"])
    members: list[enum.Enum] = schema["members"]
    if issubclass(schema["cls"], enum.Flag):  # combinations are not among the members
        return NEVER
    return _of_one_kind([member.value for member in members])


def _of_one_kind(values: Sequence[Any]) -> int:
    # 1, True and "1" in one set of choices could be taken for each other.
    return ALWAYS if {type(v) for v in values} in ({str}, {int}) else NEVER
