"""Values that JSON has no form for, as JSON: each is an object with one key, its tag.

    (1, 2)  ->  {"=tuple": [1, 2]}

Only what this module lists is written, and only that is read: a tag names a type of the standard
library, never something to import, to look up or to call.
"""

import base64
import re
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic_core import from_json

from jtask.serialization.holes import Hole

SIGN = "="
"""What the key of a tagged value begins with."""
RESULT_START = b'{"%b":' % SIGN.encode()
"""What a result with tags begins with; no other does."""
HOLE = "=run"
"""The tag of a hole in arguments: it is read only where its run's value is at hand."""

Each = Callable[[Any], Any]
Other = Callable[[Any], Any]
_NO_VALUES: Mapping[str, Any] = {}
_PLAIN = frozenset({str, int, bool, type(None), float})
_PATH = type(Path())
# Of the tz database. It names a file, so nothing else may reach the file system.
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,3}")


def tagged(value: Any, other: Other | None = None) -> Any:
    """Return a value as what JSON can hold.

    Args:
        value: The value.
        other: Called with what is neither JSON nor listed here, for what to write instead.

    Raises:
        TypeError: It contains such a thing, and there is no `other`.
        ValueError: It contains a time in a zone that has no name.
    """
    kind = _exact_type(value)
    if kind in _PLAIN:
        return value
    if kind is list:
        return [tagged(item, other) for item in value]
    if kind is dict:
        return _tagged_dict(value, other)
    if kind in _OF_ITEMS:
        return {_OF_ITEMS[kind]: [tagged(item, other) for item in value]}
    if kind in _OF_PAIRS:
        return {_OF_PAIRS[kind]: _pairs(value, other)}
    if kind is deque:
        return {"=deque": [[tagged(item, other) for item in value], value.maxlen]}
    if (written := _SCALARS.get(kind)) is not None:
        tag, write = written
        return {tag: write(value)}
    if other is None:
        raise TypeError(f"{kind.__name__} is not among the types that can be tagged")
    return tagged(other(value), other)


def untagged(data: Any, values: Mapping[str, Any] = _NO_VALUES) -> Any:
    """Return the value that `tagged` wrote.

    Args:
        data: What its JSON was read as; whoever wrote it.
        values: What goes into holes, by run id.

    Raises:
        Exception: Whatever the type of a tag raises for content that is not its own.
        ValueError: There is no such tag, or a hole stays empty.
    """

    def each(part: Any) -> Any:
        return untagged(part, values)

    if type(data) is list:
        return [each(item) for item in cast("Iterable[Any]", data)]
    if type(data) is not dict:
        return data
    fields = cast("dict[str, Any]", data)
    if len(fields) == 1:
        ((tag, content),) = fields.items()
        if tag == HOLE and content in values:
            return values[content]
        if tag.startswith(SIGN):
            return _read(tag, content, each)
    return {key: each(value) for key, value in fields.items()}


def is_tagged_result(payload: bytes) -> bool:
    """Tell whether the JSON of a result has tags, or would be taken for one that has."""
    return payload.startswith(RESULT_START)


def read_result(payload: bytes) -> Any:
    """Return a result of no known type: plain JSON, or JSON with tags.

    Raises:
        Exception: It is neither; of the type that a tag names, or of the JSON reader.
    """
    data = from_json(payload)
    return untagged(data[SIGN]) if is_tagged_result(payload) else data


def _exact_type(value: object) -> type[Any]:
    return type(value)


def _read(tag: str, content: Any, each: Each) -> Any:
    if (read_parts := _READERS_OF_PARTS.get(tag)) is not None:
        return read_parts(content, each)
    if (read := _READERS.get(tag)) is None:
        raise ValueError(f"there is no tag {tag[:40]!r}")
    return read(content)


def _tagged_dict(value: dict[Any, Any], other: Other | None) -> Any:
    if all(type(key) is str and not key.startswith(SIGN) for key in value):
        return {key: tagged(item, other) for key, item in value.items()}
    return {"=dict": _pairs(value, other)}


def _pairs(value: dict[Any, Any], other: Other | None) -> list[Any]:
    return [[tagged(key, other), tagged(item, other)] for key, item in value.items()]


def _instant(value: datetime | time) -> Any:
    zone = value.tzinfo
    # A fixed offset says all there is to say. Of any other zone the offset is only that of now.
    if zone is None or (zone.utcoffset(None) is not None and not isinstance(zone, ZoneInfo)):
        return value.isoformat()
    return [value.replace(tzinfo=None, fold=0).isoformat(), _zone(zone), value.fold]


def _zone(zone: tzinfo) -> str:
    if not isinstance(zone, ZoneInfo) or not zone.key:
        raise ValueError(f"the zone {zone!r} has no name by which it could be found elsewhere")
    return zone.key


def _read_instant(kind: type[datetime] | type[time]) -> Callable[[Any], datetime | time]:
    def read(content: Any) -> datetime | time:
        if isinstance(content, str):
            return kind.fromisoformat(content)
        text, zone, fold = content
        return kind.fromisoformat(text).replace(tzinfo=_read_zone(zone), fold=fold)

    return read


def _read_zone(key: Any) -> ZoneInfo:
    if not _ZONE.fullmatch(key):
        raise ValueError("not the name of a time zone")
    return ZoneInfo(key)


def _read_pairs(content: Any, each: Each) -> dict[Any, Any]:
    return {each(key): each(item) for key, item in content}


def _counter(content: Any, each: Each) -> Counter[Any]:
    found: Counter[Any] = Counter()
    # Not by its constructor, which would count the pairs.
    found.update(_read_pairs(content, each))
    return found


def _base64(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode()


def _from_base64(content: Any) -> bytes:
    return base64.b64decode(content, validate=True)


def _items(content: Any, each: Each) -> Iterable[Any]:
    if not isinstance(content, list):
        raise TypeError("expected a list of items")
    return map(each, cast("Iterable[Any]", content))


_OF_ITEMS: dict[type[Any], str] = {tuple: "=tuple", set: "=set", frozenset: "=frozenset"}
_OF_PAIRS: dict[type[Any], str] = {OrderedDict: "=ordereddict", Counter: "=counter"}
_SCALARS: dict[type[Any], tuple[str, Callable[[Any], Any]]] = {
    datetime: ("=datetime", _instant),
    date: ("=date", date.isoformat),
    time: ("=time", _instant),
    timedelta: ("=timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    ZoneInfo: ("=zone", _zone),
    Decimal: ("=decimal", str),
    UUID: ("=uuid", str),
    bytes: ("=bytes", _base64),
    bytearray: ("=bytearray", _base64),
    _PATH: ("=path", str),
    complex: ("=complex", lambda value: [value.real, value.imag]),
    range: ("=range", lambda value: [value.start, value.stop, value.step]),
    Hole: (HOLE, lambda value: value.run_id),
}
_READERS_OF_PARTS: dict[str, Callable[[Any, Each], Any]] = {
    "=tuple": lambda content, each: tuple(_items(content, each)),
    "=set": lambda content, each: set(_items(content, each)),
    "=frozenset": lambda content, each: frozenset(_items(content, each)),
    "=dict": _read_pairs,
    "=ordereddict": lambda content, each: OrderedDict(_read_pairs(content, each)),
    "=counter": _counter,
    "=deque": lambda content, each: deque(_items(content[0], each), content[1]),
}
_READERS: dict[str, Callable[[Any], Any]] = {
    "=datetime": _read_instant(datetime),
    "=date": date.fromisoformat,
    "=time": _read_instant(time),
    "=timedelta": lambda content: timedelta(*content),
    "=zone": _read_zone,
    "=decimal": Decimal,
    "=uuid": UUID,
    "=bytes": _from_base64,
    "=bytearray": lambda content: bytearray(_from_base64(content)),
    "=path": Path,
    "=complex": lambda content: complex(content[0], content[1]),
    "=range": lambda content: range(*content),
}
