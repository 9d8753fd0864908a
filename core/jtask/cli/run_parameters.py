"""The parameters of a run as people see them: secrets masked, long values cut. No I/O."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from jtask.foreign_text import shown
from jtask.run_arguments import without
from jtask.serialization.signatures import BY_POSITION
from jtask.serialization.tags import HOLE, SIGN
from jtask.settings.masking import masked
from jtask.wire.envelope import Envelope

_LONGEST = 500  # characters of one value
_NO_PARAMETERS = (SIGN, BY_POSITION)  # what is said about them


@dataclass(frozen=True, slots=True)
class RunParameters:
    """What a run is called with, as far as its message tells without the task's code.

    Attributes:
        values: By parameter name, as JSON has them.
        instead: What there is to say where the message does not tell them.
    """

    values: dict[str, Any] = field(default_factory=dict[str, Any])
    instead: str = ""

    @classmethod
    def of(cls, run: Envelope) -> "RunParameters":
        """Return the parameters of a run, by its message."""
        if run.blob is not None:
            return cls(instead=f"({run.blob} bytes, stored separately)")
        if run.serializer != "json":
            return cls(instead=f"({len(run.payload)} bytes of {run.serializer})")
        instead = f"({len(run.payload)} bytes that cannot be read)"
        return cls._read(run.payload, instead, run.redact)

    @classmethod
    def recorded(cls, arguments: str) -> "RunParameters":
        """Return the parameters of a run, by what is recorded of its arguments with its events."""
        return cls._read(arguments.encode(), shown(arguments[:_LONGEST]))

    @classmethod
    def _read(cls, payload: bytes, instead: str, redact: Collection[str] = ()) -> "RunParameters":
        try:
            found: dict[str, Any] = without(json.loads(payload), redact)
            return cls(
                {
                    name: masked(name, _with_runs_named(value))
                    for name, value in found.items()
                    if name not in _NO_PARAMETERS
                }
            )
        except (ValueError, AttributeError, RecursionError):  # anybody may have written it
            return cls(instead=instead)

    def to_json(self) -> dict[str, Any] | str:
        """Return the values, or what there is to say instead; a long value is a cut text."""
        return self.instead or {name: _cut(value) for name, value in self.values.items()}

    def to_text(self) -> str:
        """Return a line for each; empty where there are none."""
        lines = [f"{shown(name):<10}{_text(value)}" for name, value in self.values.items()]
        return self.instead or "\n".join(lines)


def _with_runs_named(value: Any) -> Any:
    """Return a value in which the holes for other runs' values say whose they are."""
    kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]
    if kind is list:
        return [_with_runs_named(part) for part in value]
    if kind is not dict:
        return value
    if value.keys() == {HOLE}:
        return f"(the value of run {value[HOLE]})"
    return {name: _with_runs_named(part) for name, part in value.items()}


def _cut(value: Any) -> Any:
    text = _text(value)
    return value if len(text) <= _LONGEST else text


def _text(value: Any) -> str:
    text = shown(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"
