"""The arguments of a run as text: what is recorded of them, and what can be looked for."""

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

REDACT = "redact"
"""The option of a task that names parameters and keys whose values are not recorded."""

REDACTED = "[redacted]"
"""What is recorded in place of a value that must not be."""

VALUE_LENGTH = 200
"""Characters of a value that can be looked for; of a longer one these."""

_MOST_VALUES = 64  # of one run
_DEEPEST = 8
_TAGS = "="  # names the arguments that have tags, see docs/wire-format.md


class ArgumentValue(NamedTuple):
    """One value inside the arguments of a run.

    Attributes:
        path: Its parameter, and the keys that lead to it from there: `order.customer.id`.
        value: Text as it is, anything else as JSON.
        number: The value of a number; None for all else.
    """

    path: str
    value: str
    number: float | None


def recorded(payload: bytes, limit: int, redact: Collection[str] = ()) -> str:
    """Return what is recorded of a run's arguments.

    Args:
        payload: JSON, as it is sent.
        limit: Bytes; of what is longer the beginning is kept.
        redact: Names of parameters and keys whose values are replaced.
    """
    if redact:
        payload = _redacted(payload, frozenset(redact))
    if len(payload) <= limit:
        return payload.decode(errors="replace")
    return f"{payload[:limit].decode(errors='ignore')}..." if limit > 0 else ""


def recorded_all(payloads: Sequence[bytes], limit: int) -> Sequence[str]:
    """Do `recorded` for many runs, of which nothing is redacted."""
    if limit <= 0:
        return [""] * len(payloads)
    if max(map(len, payloads)) > limit:
        return [recorded(payload, limit) for payload in payloads]
    return [payload.decode(errors="replace") for payload in payloads]


def is_whole(arguments: str) -> bool:
    """Tell whether recorded arguments are all that was sent, so that they can be sent again."""
    found = _parsed(arguments)
    return found is not None and f'"{REDACTED}"' not in arguments


def without(value: Any, redact: Collection[str]) -> Any:
    """Return a value, as JSON has it, with what nobody is shown replaced.

    Args:
        value: Arguments by parameter, or a part of them.
        redact: Names of parameters and keys whose values are replaced.
    """
    if isinstance(value, dict):
        known = cast("dict[str, Any]", value)
        return {
            key: REDACTED if key in redact else without(inner, redact)
            for key, inner in known.items()
        }
    if isinstance(value, list):
        return [without(inner, redact) for inner in cast("list[object]", value)]
    return value


def redacted_names(arguments: str) -> frozenset[str]:
    """Return the names whose values were replaced in recorded arguments."""
    return frozenset(_redacted_in(_parsed(arguments)))


def values_of(arguments: str) -> list[ArgumentValue]:
    """Return the values inside recorded arguments that can be looked for, each once."""
    found = _parsed(arguments)
    if found is None:
        return []
    values: dict[ArgumentValue, None] = {}
    for name, value in found.items():
        if name != _TAGS:
            for one in _leaves(name, value, _DEEPEST):
                values[one] = None
                if len(values) == _MOST_VALUES:
                    return list(values)
    return list(values)


def _leaves(path: str, value: object, depth: int) -> Iterator[ArgumentValue]:
    if not depth:
        return
    if isinstance(value, dict):
        for key, inner in cast("dict[str, object]", value).items():
            yield from _leaves(f"{path}.{key}", inner, depth - 1)
    elif isinstance(value, list):
        # Any of them can be looked for by the name of all.
        for inner in cast("list[object]", value):
            yield from _leaves(path, inner, depth - 1)
    elif isinstance(value, str):
        yield ArgumentValue(path[:VALUE_LENGTH], value[:VALUE_LENGTH], None)
    else:
        yield ArgumentValue(path[:VALUE_LENGTH], _written(value), _number(value))


def _written(value: object) -> str:
    try:
        # Of most, for which the encoder takes ten times as long.
        text = str(value) if type(value) is int else json.dumps(value)
        return text[:VALUE_LENGTH]
    except ValueError:  # an integer of thousands of digits
        return ""


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    with suppress(OverflowError):
        return float(value)
    return None


def _parsed(arguments: str) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        found = json.loads(arguments)
        if isinstance(found, dict):
            return cast("dict[str, Any]", found)
    return None


def _redacted(payload: bytes, names: frozenset[str]) -> bytes:
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return b""  # what is not understood may hold what must not be seen
    return json.dumps(without(value, names), separators=(",", ":"), ensure_ascii=False).encode(
        errors="replace"
    )


def _redacted_in(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in cast("dict[str, object]", value).items():
            if inner == REDACTED:
                yield key
            else:
                yield from _redacted_in(inner)
    elif isinstance(value, list):
        for inner in cast("list[object]", value):
            yield from _redacted_in(inner)
