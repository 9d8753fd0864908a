"""JSON with tags, for what would not come back from plain JSON: written, read and proved.

A result with tags is an object with the one key `=`. Arguments with tags are told by a field of
that name, which no parameter can have: it names them, and the others are plain JSON as ever.

Importing this imports pydantic: do it where it is first needed.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from pydantic_core import from_json, to_json, to_jsonable_python

from jtask.serialization.holes import NOTHING, Fillings
from jtask.serialization.json_holes import errors_in, filled_plain, filled_values
from jtask.serialization.json_types import JsonType
from jtask.serialization.round_trip import Difference, differences
from jtask.serialization.tags import RESULT_START, SIGN, tagged, untagged

_FIELD = b'"%b"' % SIGN.encode()


def with_tags(kind: JsonType, value: Any) -> bytes | list[Difference]:
    """Return a value as JSON with tags, if it surely comes back as it was sent.

    Args:
        kind: Its type.
        value: The value as the type wants it.

    Returns:
        bytes | list[Difference]: What would differ otherwise; nothing if it cannot be written.
    """
    lost: list[Difference] = []
    for written in _attempts(kind, value):
        if written is None:
            continue
        lost = _losses(kind, value, written)
        if not lost:
            return written
    return lost


def tagged_result(kind: JsonType, value: Any) -> bytes | list[Difference]:
    """Return a result as JSON with tags, or else what `with_tags` does."""
    written = with_tags(kind, value)
    return b"%b%b}" % (RESULT_START, written) if isinstance(written, bytes) else written


def tagged_arguments(plain: bytes, tagged_ones: Mapping[str, bytes]) -> bytes:
    """Return a record of arguments some of which have tags.

    Args:
        plain: The record of the others as JSON.
        tagged_ones: Of each that has tags, a record of it alone.
    """
    records = (plain, *tagged_ones.values(), b"{%b:%b}" % (_FIELD, to_json(list(tagged_ones))))
    return b"{%b}" % b",".join(record[1:-1] for record in records if record != b"{}")


def with_trees(payload: bytes, trees: Mapping[str, Any]) -> bytes:
    """Return a record of arguments together with those that have holes.

    Args:
        payload: The record of the others as JSON, with or without tags.
        trees: The JSON of each that has holes.
    """
    record = cast("dict[str, Any]", from_json(payload))
    tagged_names = [*record.pop(SIGN, ()), *trees]
    return _json({**record, **trees, SIGN: tagged_names})


class Split(NamedTuple):
    """The arguments of a record, by how they are read.

    Attributes:
        plain: Those that are plain JSON, as JSON.
        values: Those that had tags or values in their holes.
        failed: Those that have an exception in a hole.
    """

    plain: bytes
    values: dict[str, Any]
    failed: dict[str, Any]


def split_arguments(payload: bytes, fillings: Fillings = NOTHING) -> Split | None:
    """Return a record's arguments, those with tags as values, with their holes filled.

    Args:
        payload: The whole record.
        fillings: What goes into holes.

    Returns:
        Split | None: None if none has tags.

    Raises:
        Exception: It cannot be read; of the type that a tag names.
    """
    # Found by the bytes alone, so that nearly all records are parsed once.
    if _FIELD not in payload:
        return None
    record = from_json(payload)
    if not isinstance(record, dict) or SIGN not in record:
        return None
    plain = cast("dict[str, Any]", record)
    values: dict[str, Any] = {}
    failed: dict[str, Any] = {}
    for name in plain.pop(SIGN):
        tree = plain.pop(name)
        filled = filled_plain(tree, fillings) if fillings else None
        if filled is not None:
            plain[name] = filled.tree
        elif fillings and errors_in(tree, fillings):
            failed[name] = filled_values(tree, fillings)
        else:
            values[name] = filled_values(tree, fillings)
    return Split(_json(plain), values, failed)


def _attempts(kind: JsonType, value: Any) -> Iterator[bytes | None]:
    yield _written(lambda: tagged(value))
    # A dataclass or a model by its fields, the values of which may need tags.
    yield _written(lambda: tagged(kind.take_apart(value), to_jsonable_python))


def _written(make: Any) -> bytes | None:
    try:
        return _json(make())
    except Exception:  # it cannot be written: whatever a value's own methods raise
        return None


def _json(data: Any) -> bytes:
    return to_json(data, inf_nan_mode="constants")


def _losses(kind: JsonType, value: Any, written: bytes) -> list[Difference]:
    try:
        back = kind.check(untagged(from_json(written)))
        found = list(differences(value, back))
        # What defines no equality is the same when its JSON is.
        if found and all(d.undecided for d in found) and kind.dump(back) == kind.dump(value):
            return []
    except Exception:  # a validator in an annotation may raise anything
        return [Difference((), value, None)]
    return found
