"""Find values anywhere inside of arguments, and put others in their place."""

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, cast

from jtask.annotations import allow_failure, opaque, quote, unmapped
from jtask.errors import SerializationError
from jtask.value_copies import with_content, with_fields

PLAIN = frozenset({int, str, float, bool, bytes, type(None)})
"""Types of which a value holds no others."""
_ABSENT = object()
Replace = Callable[[Any, bool], Any]


def replace_nested(value: Any, kind: type | tuple[type, ...], replace: Replace) -> Any:
    """Return a value with each instance of a kind replaced, however deep it is inside.

    Looks into lists, deques, tuples (named ones too), sets, the keys and values of mappings,
    dataclasses, attrs classes and pydantic models. What holds nothing of the kind is returned as it
    is, not copied. `quote`, `opaque`, `unmapped` and `allow_failure` are obeyed and taken off.

    Args:
        value: The value; it may hold itself.
        kind: What to replace.
        replace: Called with each instance, and whether it stands inside of `allow_failure`;
            returns what goes in its place. What that holds is not looked at.

    Raises:
        SerializationError: The value is nested more deeply than Python can follow, or something in
            it that holds one of the kind cannot be copied.
    """
    try:
        return _Replacing(kind, replace).replaced(value, allowed=False)
    except RecursionError:
        raise SerializationError(
            f"a value ({type(value).__name__}) is nested too deeply to look for runs inside of it: "
            "make it flatter, or pass it as opaque(value)"
        ) from None


def find_nested(value: Any, kind: type | tuple[type, ...]) -> list[Any]:
    """Return each instance of a kind that is anywhere inside of a value; see `replace_nested`."""
    found: list[Any] = []

    def keep(one: Any, _: bool) -> Any:
        found.append(one)
        return one

    replace_nested(value, kind, keep)
    return found


def take_as_list(kind: type[Any]) -> None:
    """Put a plain list where one of a class would get other things than belong there."""
    _REBUILD[kind] = _plain_list


class _Replacing:
    def __init__(self, kind: type | tuple[type, ...], replace: Replace) -> None:
        self._kind = kind
        self._replace = replace
        # Those whose parts are being looked at, by id(): a value may hold itself.
        self._open: set[int] = set()

    def replaced(self, value: Any, *, allowed: bool) -> Any:
        cls = cast("type[Any]", cast("Any", type)(value))
        if cls in PLAIN:
            return value
        if isinstance(value, self._kind):
            return self._replace(value, allowed)
        if issubclass(cls, quote):
            return value.value
        if issubclass(cls, opaque):
            is_wanted = isinstance(value.value, self._kind)
            return self._replace(value.value, allowed) if is_wanted else value.value
        if issubclass(cls, unmapped):
            return self.replaced(value.value, allowed=allowed)
        if issubclass(cls, allow_failure):
            return self.replaced(value.value, allowed=True)
        rebuild = _REBUILD.get(cls) or _rebuild_of(cls)
        if rebuild is None or id(value) in self._open:
            return value
        self._open.add(id(value))
        try:
            return rebuild(value, lambda part: self.replaced(part, allowed=allowed))
        finally:
            self._open.discard(id(value))


Each = Callable[[Any], Any]


def _rebuild_of(cls: type[Any]) -> Callable[[Any, Each], Any] | None:
    for kind, rebuild in _REBUILD.items():
        if issubclass(cls, kind):
            return rebuild
    if issubclass(cls, Mapping):
        return _mapping
    if dataclasses.is_dataclass(cls) or hasattr(cls, "__attrs_attrs__"):
        return _fields
    # Without importing pydantic: only what is one already can be one.
    return _model if hasattr(cls, "__pydantic_fields__") else None


def _sequence(value: Any, each: Each) -> Any:
    if PLAIN.issuperset(map(type, value)):
        return value  # at once: it may be long
    parts = [each(part) for part in value]
    if all(new is old for new, old in zip(parts, value, strict=True)):
        return value
    return with_content(value, parts)


def _plain_list(value: Any, each: Each) -> Any:
    parts = [each(part) for part in value]
    return value if all(new is old for new, old in zip(parts, value, strict=True)) else parts


def _mapping(value: Any, each: Each) -> Any:
    parts = [(each(key), each(item)) for key, item in value.items()]
    if all(key in value and value[key] is item for key, item in parts):
        return value
    return with_content(value, dict(parts))


def _fields(value: Any, each: Each) -> Any:
    cls = cast("type[Any]", cast("Any", type)(value))
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else cls.__attrs_attrs__
    changed = _changed(value, [field.name for field in fields], each)
    return with_fields(value, changed) if changed else value


def _model(value: Any, each: Each) -> Any:
    names = [*cast("Any", type(value)).__pydantic_fields__, *(value.model_extra or ())]
    changed = _changed(value, names, each)
    return value.model_copy(update=changed) if changed else value


def _changed(value: Any, names: Any, each: Each) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for name in names:
        old = getattr(value, name, _ABSENT)
        if old is not _ABSENT and (new := each(old)) is not old:
            changed[name] = new
    return changed


_REBUILD: dict[type, Callable[[Any, Each], Any]] = {
    list: _sequence,
    tuple: _sequence,
    set: _sequence,
    frozenset: _sequence,
    deque: _sequence,
    dict: _mapping,
}
