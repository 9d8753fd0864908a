"""The keys of a call: what its options make of its arguments, and what a run carries of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from jtask.argument_keys import make_key, storable
from jtask.wire.fields import known_fields

if TYPE_CHECKING:
    from jtask.runtime import EnqueueRequest, RunContext

_LONGEST_NAME = 190  # characters; a record's key may have 200
_LONGEST_SHOWN = 100  # characters of a key in a message


class Kind(StrEnum):
    """What a key is for; the option of the same name makes it."""

    IDEMPOTENCY = "idempotency_key"
    UNIQUE = "unique"
    DEBOUNCE = "debounce_key"


@dataclass(frozen=True, slots=True)
class Key:
    """What one run may have at a time.

    Attributes:
        kind: What it is for.
        name: What it is stored under; tells it from all other keys of all tasks.
        about: For people.
    """

    kind: Kind
    name: str
    about: str = ""


def key_of(kind: Kind, wanted: object, context: "EnqueueRequest | RunContext") -> Key | None:
    """Return a key of a call.

    Args:
        kind: What it is for.
        wanted: The option's value: True for all arguments, a template, or a function.
        context: The call, or the run that has come of it.

    Returns:
        Key | None: The key; None when a function says that there is none.

    Raises:
        Exception: None can be made: what a function raised, or why a template or an argument will
            not do.
    """
    if wanted is True:
        text: object = _hash_of(context.parameters)
        about = "the same arguments"
    else:
        text = make_key(wanted, context)
        about = f"the key {str(text)[:_LONGEST_SHOWN]!r}"
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError(f"a key is a text, got {text!r:.100}")
    if not text:
        raise ValueError("a key is a text of at least one character")
    return Key(kind, _name(kind, context.task.key, text), about)


def whole_task(kind: Kind, context: "EnqueueRequest | RunContext") -> Key:
    """Return the key that all calls of a task have."""
    return Key(kind, f"{kind}:{context.task.key}", "its task")


def write_header(run_id: str, keys: Mapping[Kind, Key]) -> str:
    """Return what a run carries of the keys that were claimed for it; there may be none."""
    names = {str(kind): key.name for kind, key in keys.items()}
    return json.dumps({"run_id": run_id, **names}) if keys else "{}"


def read_header(header: str) -> tuple[str, list[Key]]:
    """Return the run for which keys were claimed, and these; a replay carries another run's."""
    facts = known_fields(header.encode("utf-8", "replace"))
    named = [(kind, facts.get(str(kind))) for kind in (Kind.IDEMPOTENCY, Kind.UNIQUE)]
    # Nobody can have what belongs to another kind: the name begins with it.
    keys = [
        Key(kind, name)
        for kind, name in named
        if isinstance(name, str) and name.startswith(str(kind)) and len(name) <= _LONGEST_NAME
    ]
    return str(facts.get("run_id", "")), keys


def _name(kind: Kind, task_key: str, text: str) -> str:
    # The key of a task has no colon.
    name = f"{kind}:{task_key}:{text}"
    stored = storable(name, _LONGEST_NAME)
    return name if stored == name else f"{kind}#{stored}"


def _hash_of(parameters: Mapping[str, Any]) -> str:
    from jtask.serialization.stable_hash import stable_hash  # imports pydantic

    return stable_hash(dict(parameters))
