"""Arguments with holes as JSON: written, filled and read.

Importing this imports pydantic: do it where it is first needed.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard, cast

from pydantic_core import from_json, to_jsonable_python

from jtask.nested_values import find_nested
from jtask.serialization.holes import Fillings, Hole
from jtask.serialization.round_trip import Difference, differences
from jtask.serialization.tags import HOLE, SIGN, is_tagged_result, tagged, untagged

_PLAIN: Mapping[type, Any] = {list: list, set: (set, frozenset), dict: Mapping}


def open_tree(value: Any) -> Any:
    """Return an argument that has holes as a JSON tree with tags.

    Args:
        value: The argument; there is a `Hole` for each value that is to come.

    Raises:
        Exception: It cannot be written; of whatever type a value's own methods raise.
    """
    return tagged(value, _parts)


def losses_around_holes(sent: Any, back: Any) -> Iterator[Difference]:
    """Yield how a value with holes would differ after its trip.

    A list, set or mapping of another class that has a hole inside is meant to come back as a plain
    one; what defines no equality may be the same.

    Args:
        sent: The value.
        back: What came back, with the same holes.
    """
    for found in differences(sent, back):
        if (plain := _made_plain(found)) is not None:
            for inner in losses_around_holes(plain, found.back):
                yield inner._replace(place=(*found.place, *inner.place))
        elif not found.undecided:
            yield found


class Filled(NamedTuple):
    """Plain JSON that had holes; it may be null."""

    tree: Any


def filled_plain(tree: Any, fillings: Fillings) -> Filled | None:
    """Return a tree with the stored JSON of values in its holes, for the annotation to read.

    Args:
        tree: What `open_tree` has made.
        fillings: What goes where.

    Returns:
        Filled | None: None if it has tags or gets some: then `filled_values` has to read it.
    """
    found = list(_tags(tree))
    ids = {content for tag, content in found if tag == HOLE}
    if not ids or any(tag != HOLE for tag, _ in found):
        return None
    stored = {run_id: fillings[run_id].stored for run_id in ids}
    plain = {run_id: from_json(body) for run_id, body in stored.items() if _is_plain(body)}
    return Filled(_replaced(tree, plain)) if len(plain) == len(stored) else None


def filled_values(tree: Any, fillings: Fillings) -> Any:
    """Return a tree as the value that it stands for, with values in its holes.

    Args:
        tree: What `open_tree` has made.
        fillings: What goes where.

    Raises:
        Exception: A tag or a value cannot be read.
    """
    ids = {content for tag, content in _tags(tree) if tag == HOLE}
    values = {run_id: fillings[run_id].load() for run_id in ids}
    return untagged(tree, values)


def errors_in(tree: Any, fillings: Fillings) -> bool:
    """Tell whether an exception goes into a hole of a tree."""
    ids = {content for tag, content in _tags(tree) if tag == HOLE}
    return any(fillings[run_id].is_error for run_id in ids)


def _is_plain(stored: bytes | None) -> TypeGuard[bytes]:
    return stored is not None and not is_tagged_result(stored)


def _tags(tree: Any) -> Iterator[tuple[str, Any]]:
    """Yield each tag of a tree with its content."""
    if isinstance(tree, list):
        for item in cast("Iterable[Any]", tree):
            yield from _tags(item)
    elif isinstance(tree, dict):
        fields = cast("Mapping[str, Any]", tree)
        for key, item in fields.items():
            if len(fields) == 1 and key.startswith(SIGN):
                yield key, item
            yield from _tags(item)


def _replaced(tree: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(tree, list):
        return [_replaced(item, values) for item in cast("Iterable[Any]", tree)]
    if not isinstance(tree, dict):
        return tree
    fields = cast("Mapping[str, Any]", tree)
    if len(fields) == 1 and HOLE in fields:
        return values[fields[HOLE]]
    return {key: _replaced(item, values) for key, item in fields.items()}


def _made_plain(found: Difference) -> Any:
    sent, kind = found.sent, cast("type[Any]", cast("Any", type)(found.back))
    wide = _PLAIN.get(kind)
    is_other = wide is not None and isinstance(sent, wide) and type(sent) is not kind
    return kind(sent) if is_other and find_nested(sent, Hole) else None


def _parts(value: Any) -> Any:
    """Return what has parts as a plain container of them: one of them may be a hole."""
    if isinstance(value, list | tuple):  # of a class of its own, or a named one
        return list(cast("Iterable[Any]", value))
    if isinstance(value, set | frozenset):
        return set(cast("Iterable[Any]", value))
    if isinstance(value, Mapping):
        return dict(cast("Any", value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    kind = cast("type[Any]", cast("Any", type)(value))
    if (fields := getattr(kind, "__pydantic_fields__", None)) is not None:
        return {_key(name, fields[name]): getattr(value, name) for name in fields}
    return to_jsonable_python(value)


def _key(name: str, field: Any) -> str:
    for alias in (field.validation_alias, field.alias):
        if isinstance(alias, str):
            return alias
    return name
