"""What no serializer carries because it belongs to this process, and what to send instead."""

from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from jtask.annotations import Handle
from jtask.errors import SerializationError
from jtask.nested_values import find_nested

_INSTEAD: dict[type, str] = {
    CoroutineType: "await the coroutine, and send its value",
    GeneratorType: "send a list of what the generator yields",
    AsyncGeneratorType: "send a list of what the generator yields",
    Handle: "send the run_id of the handle, and call get_run(run_id) there",
}


def instead_of(value: Any, otherwise: str) -> str:
    """Return the way out for a value that cannot be sent.

    Args:
        value: The value.
        otherwise: The way out for what does not belong to this process.
    """
    try:
        found = find_nested(value, tuple(_INSTEAD))
    except SerializationError:  # nested too deeply, which is why it cannot be sent
        return otherwise
    for one in found:
        return next(instead for kind, instead in _INSTEAD.items() if isinstance(one, kind))
    return otherwise
