"""Copy a container or an object with other values in it, whatever its class's `__init__` takes."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jtask.errors import SerializationError

_BUILT_IN = frozenset({list, tuple, set, frozenset, dict})


def with_content(value: Any, content: Sequence[Any] | Mapping[Any, Any]) -> Any:
    """Return a container of the same class, and with the same attributes, that holds other content.

    Args:
        value: A list, deque, tuple, set, frozenset or mapping, or one of a subclass.
        content: What the new one holds.

    Raises:
        SerializationError: Its class makes none.
    """
    if type(value) in _BUILT_IN:
        return type(value)(content)
    return _made(value, lambda: _refilled(value, content))


def with_fields(value: Any, changed: Mapping[str, Any]) -> Any:
    """Return a copy of an object, frozen ones included, with other values in some attributes.

    Raises:
        SerializationError: It cannot be copied.
    """

    def fill() -> Any:
        # Not `dataclasses.replace`, which calls __init__ and __post_init__ again.
        made = copy.copy(value)
        for name, new in changed.items():
            object.__setattr__(made, name, new)
        return made

    return _made(value, fill)


def _made(value: Any, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:
        name, reason = type(value).__name__, f"{type(error).__name__}: {error}"
        raise SerializationError(
            f"a value ({name}) holds a run, and no {name} can be made that holds the run's value "
            f"instead, {reason}: pass the run beside it, or in a list or dict"
        ) from error


def _refilled(value: Any, content: Any) -> Any:
    match value:
        case tuple():
            return _immutable(tuple, value, content)
        case frozenset():
            return _immutable(frozenset, value, content)
        case dict():
            made = _emptied(value)
            for key, item in content.items():
                made[key] = item
        case set():
            made = _emptied(value)
            made.update(content)
        case Mapping():
            made = _other_mapping(value, content)
        case _:
            made = _emptied(value)
            made.extend(content)
    return made


def _immutable(base: Any, value: Any, content: Any) -> Any:
    made = base.__new__(type(value), content)  # its own `__new__` may take anything
    vars_of = getattr(value, "__dict__", None)
    if vars_of:
        made.__dict__.update(vars_of)
    return made


def _emptied(value: Any) -> Any:
    # By its class's own way to copy: that of `defaultdict` keeps the factory, for example.
    made = copy.copy(value)
    made.clear()
    return made


def _other_mapping(value: Any, content: dict[Any, Any]) -> Any:
    made = type(value)(content)
    if len(made) != len(content) or any(made[key] is not item for key, item in content.items()):
        raise TypeError("it does not hold what it is made of")
    return made
