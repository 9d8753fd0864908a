"""Compare a value with what came back from its trip through JSON.

Stricter than `==`: True is not 1, and an enum member is not the number it equals.
"""

import dataclasses
import marshal
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, time
from decimal import Decimal
from typing import Any, NamedTuple, cast

_SCALARS = frozenset({str, int, bool, type(None), bytes})


class Difference(NamedTuple):
    """One place where two values differ.

    Attributes:
        place: The steps (keys, indexes, fields) to it; empty for the compared value itself.
        undecided: Both are of one type that defines no equality, so they may be the same.
    """

    place: tuple[Any, ...]
    sent: Any
    back: Any
    undecided: bool = False


def differences(sent: Any, back: Any) -> Iterator[Difference]:
    """Yield where a value differs from what came back.

    Args:
        sent: The value as it was sent, after its check.
        back: What its JSON was read as.
    """
    if not _marshal_alike(sent, back):
        yield from _compare(sent, back)


def _marshal_alike(sent: Any, back: Any) -> bool:
    # Marshal takes exact built-in types only, so equal bytes mean equal values of equal types,
    # found at C speed. Version 2 is the last that does not encode object identity.
    try:
        return marshal.dumps(sent, 2) == marshal.dumps(back, 2)
    except ValueError:
        return False


def _compare(sent: Any, back: Any) -> Iterator[Difference]:
    kind = _exact_type(sent)
    if kind is not type(back):
        yield Difference((), sent, back)
    elif kind in _SCALARS:
        if sent != back:
            yield Difference((), sent, back)
    elif isinstance(sent, dict):
        yield from _compare_keyed(cast("Mapping[Any, Any]", sent), back)
    elif _length_limit(sent) != _length_limit(back):
        yield Difference(("maxlen",), _length_limit(sent), _length_limit(back))
    elif isinstance(sent, list | tuple | deque):
        yield from _compare_items(cast("list[Any]", sent), back)
    elif isinstance(sent, set | frozenset):
        members = cast("set[Any]", sent)
        if _typed(members) != _typed(back) or _members_differ(members, back):
            yield Difference((), sent, back)
    elif (state := _state(sent)) is not None:
        yield from _compare_keyed(state, _state(back) or {})
    elif not _equal(sent, back):
        yield Difference((), sent, back, undecided=_has_no_equality(kind))


def _exact_type(value: object) -> type[Any]:
    return type(value)


def _length_limit(value: Any) -> int | None:
    return value.maxlen if isinstance(value, deque) else None


def _has_no_equality(kind: type[Any]) -> bool:
    own: Any = kind.__eq__
    return own is object.__eq__


def _compare_keyed(sent: Mapping[Any, Any], back: Mapping[Any, Any]) -> Iterator[Difference]:
    if _typed(sent) != _typed(back):
        yield _first_key(sent, back)
        return
    if _members_differ(sent, back):
        yield Difference((), sent, back)
        return
    for key, value in sent.items():
        other = back[key]
        if value is not other:
            for difference in _compare(value, other):
                yield difference._replace(place=(key, *difference.place))


def _compare_items(sent: Iterable[Any], back: Any) -> Iterator[Difference]:
    items = list(sent)
    if len(items) != len(back):
        yield Difference((), sent, back)
        return
    for index, (value, other) in enumerate(zip(items, back, strict=True)):
        if value is not other:
            for difference in _compare(value, other):
                yield difference._replace(place=(index, *difference.place))


def _first_key(sent: Mapping[Any, Any], back: Mapping[Any, Any]) -> Difference:
    """Name a key that changed, by the order in which JSON keeps them."""
    for key, other in zip(sent, back, strict=False):
        if (type(key), key) != (type(other), other):
            return Difference((f"key {key!r}",), key, other)
    return Difference((), sent, back)


def _typed(items: Iterable[Any]) -> set[tuple[type, Any]]:
    return {(type(item), item) for item in items}


def _members_differ(sent: Iterable[Any], back: Iterable[Any]) -> bool:
    """Tell whether members that are equal differ all the same, such as one instant in two zones."""
    if all(type(item) in _SCALARS for item in sent):
        return False
    others = {(_exact_type(item), item): item for item in back}
    return any(next(_compare(item, others[_exact_type(item), item]), None) for item in sent)


def _state(value: Any) -> Mapping[str, Any] | None:
    """Return the fields of a dataclass or pydantic model."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        # Those that do not count for `==` as well: the function may read them.
        return {f.name: getattr(value, f.name, None) for f in fields}
    kind = _exact_type(value)
    model_fields: Mapping[str, Any] | None = getattr(kind, "__pydantic_fields__", None)
    if model_fields is None:
        return None
    extra: Mapping[str, Any] = getattr(value, "__pydantic_extra__", None) or {}
    private: Mapping[str, Any] = getattr(value, "__pydantic_private__", None) or {}
    return {**{name: getattr(value, name, None) for name in model_fields}, **extra, **private}


def _equal(sent: Any, back: Any) -> bool:
    if isinstance(sent, float):
        return sent == back or (math.isnan(sent) and math.isnan(back))
    if isinstance(sent, Decimal) and sent.is_nan():
        return bool(sent.compare_total(back) == 0)
    if isinstance(sent, datetime | time):
        return _clock(sent) == _clock(back)
    try:
        return bool(sent == back)
    except Exception:  # another's __eq__, such as an array's
        return False


def _clock(moment: datetime | time) -> tuple[Any, ...]:
    # Not by `==`, by which a fixed offset never equals a repeated hour.
    return moment.replace(tzinfo=None, fold=0), moment.utcoffset(), *_zone(moment)


def _zone(moment: datetime | time) -> tuple[Any, ...]:
    """Return what decides how a moment behaves across a change of clocks."""
    zone = moment.tzinfo
    if zone is None:
        return (None,)
    if zone.utcoffset(None) is not None:  # the offset never changes, whoever implements it
        return ("fixed",)
    return type(zone), getattr(zone, "key", zone)
