"""Values without a form in JSON travel with tags: as arguments and as results, annotated or not."""

import functools
import subprocess
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from jtask.errors import ArgumentError, SerializationError
from jtask.serialization.arguments import ArgumentCodec
from jtask.serialization.results import ResultCodec, read_untyped
from jtask.serialization.round_trip import differences

BERLIN = ZoneInfo("Europe/Berlin")
HALF_PAST_TWO = datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1)  # the second of that night

CARRIED: list[Any] = [
    (),
    (1, "two", (3.5,)),
    {1, 2},
    set(),
    frozenset({"a"}),
    datetime(2024, 1, 1, 12, 30, 1, 5),
    datetime(2024, 1, 1, tzinfo=UTC),
    datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    datetime(2024, 7, 1, tzinfo=BERLIN),
    HALF_PAST_TWO,
    date(2024, 2, 29),
    time(1, 2, 3),
    time(1, 2, tzinfo=BERLIN),
    timedelta(days=-1, microseconds=7),
    Decimal("1.50"),
    Decimal("-Infinity"),
    UUID(int=7),
    b"\xff\x00",
    bytearray(b"ab"),
    Path("/some/where"),
    complex(-0.0, 2),
    range(1, 10, 3),
    {1: "a", 2: "b"},
    {(1, 2): {3: 4}},
    {None: 1, True: 2, 2.5: 3},
    {date(2024, 1, 1): 1},
    OrderedDict([("b", 1), ("a", 2)]),
    Counter("abca"),
    Counter({1: 2}),
    deque([1, 2], maxlen=5),
    BERLIN,
    # What could be taken for a tag.
    {"=": 1},
    {"=tuple": [1]},
    {"=nothing": None},
    {"a": {"=set": []}},
    {"=": {"=tuple": [1]}, "b": 2},
    [{"=dict": []}, (1,)],
]


def keep(value: Any = None, /, *args: Any, named: Any = None, **more: Any) -> Any:
    return value, args, named, more


def plain(value, other: int = 0):  # type: ignore[no-untyped-def]
    return value


def arguments(fn: Any) -> ArgumentCodec:
    return ArgumentCodec(fn, task_name="t", serializer="json")


def results(annotation: Any = Any) -> ResultCodec:
    def fn() -> None: ...

    fn.__annotations__ = {"return": annotation}
    return ResultCodec(fn, task_name="t", serializer="json")


def result_trip(annotation: Any, value: Any) -> Any:
    codec = results(annotation)
    return codec.decode(codec.encode(value))


def argument_trip(annotation: Any, value: Any) -> Any:
    def fn(value: Any) -> Any:
        return value

    fn.__annotations__ = {"value": annotation}
    codec = arguments(fn)
    args, kwargs = codec.decode(codec.encode((value,), {}))
    return fn(*args, **kwargs)


def assert_same(sent: Any, back: Any) -> None:
    assert back == sent
    assert not list(differences(sent, back))


@pytest.mark.parametrize("value", CARRIED, ids=repr)
def test_a_value_without_an_annotation_comes_back_as_it_was_sent(value: Any) -> None:
    for sent in (value, [value], {"key": [value, None]}, (value, [value])):
        codec = results()
        payload = codec.encode(sent)
        assert_same(sent, codec.decode(payload))
        assert_same(sent, read_untyped(payload, "it"))
        assert_same(sent, argument_trip(Any, sent))


@pytest.mark.parametrize("value", CARRIED, ids=repr)
def test_an_argument_of_any_kind_is_carried_beside_plain_ones(value: Any) -> None:
    codec = arguments(keep)
    args, kwargs = codec.decode(codec.encode((1, value, "x"), {"named": value, "more": value}))
    assert_same((1, (value, "x"), value, {"more": value}), keep(*args, **kwargs))


@pytest.mark.parametrize("text", ["NaN", "-NaN12", "sNaN"])
def test_a_decimal_that_is_no_number_comes_back_as_it_was_sent(text: str) -> None:
    assert repr(result_trip(Any, [Decimal(text)])) == repr([Decimal(text)])


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (list, [(1, 2)]),
        (dict, {1: (2,)}),
        (dict[str, Any], {"a": {1, 2}}),
        (tuple, (1, (2, date(2024, 1, 1)))),
        (Sequence, (1, 2)),
        (object, (1, 2)),
        (int | str | None, "5"),
        (datetime, HALF_PAST_TWO),
        (list[datetime], [HALF_PAST_TWO]),
        (deque[int], deque([1], maxlen=2)),
    ],
)
def test_what_an_annotation_leaves_open_is_carried_too(annotation: Any, value: Any) -> None:
    assert_same(value, result_trip(annotation, value))
    assert_same(value, argument_trip(annotation, value))


@dataclass
class Event:
    when: datetime
    data: Any = None


class Record(BaseModel):
    raw: bytes = b""
    data: Any = None


@pytest.mark.parametrize(
    "value",
    [
        Event(HALF_PAST_TWO),
        Event(datetime(2024, 1, 1), (1, {2: 3})),
        Record(raw=b"\xff", data={1, 2}),
    ],
)
def test_what_a_declared_class_leaves_open_is_carried_too(value: Any) -> None:
    assert_same(value, result_trip(type(value), value))
    assert_same([value], argument_trip(list[type(value)], [value]))  # type: ignore[misc]


def test_a_day_later_is_the_same_time_of_day_across_a_change_of_clocks() -> None:
    back = result_trip(Any, datetime(2024, 3, 30, 12, tzinfo=BERLIN))
    assert back + timedelta(days=1) == datetime(2024, 3, 31, 12, tzinfo=BERLIN)
    assert (back + timedelta(days=1)).utcoffset() == timedelta(hours=2)


def test_plain_json_stays_plain_beside_what_has_tags() -> None:
    assert arguments(plain).encode(([1, {"a": 2}], 3), {}) == b'{"value":[1,{"a":2}],"other":3}'
    assert arguments(plain).encode(((1, 2), 3), {}) == (
        b'{"other":3,"value":{"=tuple":[1,2]},"=":["value"]}'
    )
    assert results().encode((1, 2)) == b'{"=":{"=tuple":[1,2]}}'
    assert results(tuple[int, int]).encode((1, 2)) == b"[1,2]"


def test_a_sign_in_plain_arguments_is_no_tag() -> None:
    _, kwargs = arguments(plain).decode(b'{"value": {"=tuple": [1]}}')
    assert kwargs == {"value": {"=tuple": [1]}}
    _, kwargs = arguments(plain).decode(b'{"value": {"=": [1]}}')
    assert kwargs == {"value": {"=": [1]}}


def test_what_cannot_be_tagged_is_named_and_not_what_stands_beside_it() -> None:
    class Odd:
        pass

    with pytest.raises(SerializationError, match=r"\(Record\) \(at 1\)") as caught:
        results().encode([(1, 2), Record()])
    assert "annotate what the function returns" in str(caught.value)
    with pytest.raises(SerializationError, match=r"argument 'value' of task 't'"):
        arguments(plain).encode((Odd(),), {})


def test_what_contains_itself_is_refused() -> None:
    endless: list[Any] = [(1,)]
    endless.append(endless)
    with pytest.raises(SerializationError):
        results().encode(endless)


@pytest.mark.parametrize(
    "content",
    [
        b'{"=path": 5}',
        b'{"=tuple": 5}',
        b'{"=tuple": "ab"}',
        b'{"=set": [[]]}',
        b'{"=datetime": "tomorrow"}',
        b'{"=datetime": ["2024-01-01", "../../etc/passwd", 0]}',
        b'{"=datetime": ["2024-01-01", "/etc/passwd", 0]}',
        b'{"=zone": "Nowhere/Land"}',
        b'{"=zone": 1}',
        b'{"=timedelta": [1e300]}',
        b'{"=bytes": "%%%"}',
        b'{"=uuid": "x"}',
        b'{"=decimal": "x"}',
        b'{"=deque": [[1], -1]}',
        b'{"=dict": [[1]]}',
        b'{"=range": [0, 1, 0]}',
        b'{"=complex": []}',
        b'{"=module": "antigravity"}',
        b'{"=counter": 1}',
        b'{"=%b": 1}' % (b"x" * 5000),
    ],
)
def test_a_tag_with_content_that_is_not_its_own_is_an_error_of_bounded_length(
    content: bytes,
) -> None:
    with pytest.raises(SerializationError, match="the result of task 't'") as caught:
        results().decode(b'{"=":%b}' % content)
    assert len(str(caught.value)) < 500
    with pytest.raises(SerializationError, match="arguments of task 't'") as caught:
        arguments(plain).decode(b'{"value":%b,"=":["value"]}' % content)
    assert len(str(caught.value)) < 500
    with pytest.raises(SerializationError):
        read_untyped(b'{"=":%b}' % content, "it")


@pytest.mark.parametrize("names", [b"1", b'"value"', b'["other"]', b"[[]]", b'{"a": 1}', b"null"])
def test_odd_names_of_tagged_arguments_are_an_error(names: bytes) -> None:
    with pytest.raises((SerializationError, ArgumentError)):
        arguments(plain).decode(b'{"value":1,"=":%b}' % names)


def test_tagged_arguments_are_checked_like_others() -> None:
    def typed(when: datetime, size: int = 1) -> None: ...

    codec = arguments(typed)
    with pytest.raises(ArgumentError, match="'when' must be a valid datetime"):
        codec.decode(b'{"when":{"=tuple":[]},"=":["when"]}')
    with pytest.raises(ArgumentError, match="is missing argument 'when'"):
        codec.decode(b'{"size":{"=tuple":[]},"=":["size"]}'.replace(b'{"=tuple":[]}', b"1"))
    with pytest.raises(ArgumentError, match="has no argument 'nothing'"):
        codec.decode(b'{"when":"2024-01-01","nothing":1,"=":["nothing"]}')


def test_reading_tags_imports_nothing() -> None:
    code = (
        "import sys; from jtask.serialization import tags; before = set(sys.modules)\n"
        "try: tags.untagged({'=module': 'antigravity'})\n"
        "except ValueError: pass\n"
        "assert set(sys.modules) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.dates()
    | st.datetimes()
    | st.datetimes(timezones=st.timezones())
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False)
)
HASHABLE = st.recursive(
    SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=2), max_leaves=4
)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.dictionaries(st.text() | st.just("=tuple"), inner, max_size=3)
        | st.sets(HASHABLE, max_size=2)
    ),
    max_leaves=8,
)
KEEP, ANY = arguments(keep), results()


@given(VALUES)
def test_whatever_is_made_of_these_comes_back(value: Any) -> None:
    assert_same(value, ANY.decode(ANY.encode(value)))
    args, kwargs = KEEP.decode(KEEP.encode((value,), {"named": value}))
    assert_same((value, (), value, {}), functools.partial(keep, *args)(**kwargs))
