"""What no serializer carries because it goes on in this process, and what to send instead."""

from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from jtask.nested_values import find_nested

_INSTEAD: dict[type, str] = {
    CoroutineType: "await the coroutine, and send its value",
    GeneratorType: "send a list of what the generator yields",
    AsyncGeneratorType: "send a list of what the generator yields",
}


def instead_of(value: Any, otherwise: str) -> str:
    """Return the way out for a value that cannot be sent.

    Args:
        value: The value.
        otherwise: The way out for what does not go on in this process.
    """
    for one in find_nested(value, tuple(_INSTEAD)):
        return _INSTEAD[type(one)]
    return otherwise
