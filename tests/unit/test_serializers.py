import enum
import math
import subprocess
import sys
import typing
from collections import deque, namedtuple
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, PrivateAttr, SecretStr, computed_field, field_validator

from jtask.errors import SerializationError, TaskDefinitionError
from jtask.serialization.results import ResultCodec


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Mode(enum.StrEnum):
    FAST = "fast"


class Corner(enum.Enum):
    ORIGIN = (0, 0)


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(BaseModel):
    x: int
    y: float = Field(default=0.0, alias="why")
    label: str | None = None

    @computed_field
    @property
    def total(self) -> float:
        return self.x + self.y


class Point3(Point):
    z: int = 0


@dataclass
class Leaf:
    data: bytes
    weight: float = 1.0


@dataclass
class Tree:
    leaf: Leaf
    when: datetime | None = None
    children: list["Tree"] = field(default_factory=list)


@dataclass
class Square:
    side: int
    area: int = field(init=False)

    def __post_init__(self) -> None:
        self.area = self.side**2


class Options(TypedDict, total=False):
    raw: bytes
    depth: int


class Pair(NamedTuple):
    left: int
    right: Path


class Loose(BaseModel):
    anything: Any


class Hidden(BaseModel):
    shown: int = 1
    kept_back: int = Field(default=0, exclude=True)


class Growing(BaseModel):
    size: int

    @field_validator("size")
    @classmethod
    def one_more(cls, value: int) -> int:
        return value + 1


class Credentials(BaseModel):
    password: SecretStr


class Plain:
    pass


UserId = NewType("UserId", int)
BERLIN = ZoneInfo("Europe/Berlin")


def codec(annotation: Any, serializer: Any = "json") -> ResultCodec:
    def fn(): ...

    fn.__annotations__ = {"return": annotation}
    return ResultCodec(fn, task_name="t", serializer=serializer)


def trip(annotation: Any, value: Any) -> Any:
    own = codec(annotation)
    return own.decode(own.encode(value))


def refusal(annotation: Any, value: Any) -> str:
    with pytest.raises(SerializationError) as caught:
        codec(annotation).encode(value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, "a\0é\U0001f600"),
        (int, -(10**30)),
        (float, 0.1),
        (float, -0.0),
        (float, math.inf),
        (bool, True),
        (None, None),
        (bytes, b"\xff\x00\xfe"),
        (datetime, datetime(2024, 2, 29, 1, 2, 3, 4, UTC)),
        (datetime, datetime(2024, 2, 29, tzinfo=timezone(timedelta(hours=-5, minutes=-30)))),
        (datetime, datetime(2024, 2, 29)),
        (date, date(1, 1, 1)),
        (time, time(1, 2, 3, 4)),
        (timedelta, timedelta(days=-5, microseconds=3)),
        (UUID, UUID(int=7)),
        (Decimal, Decimal("1E+5")),
        (Decimal, Decimal("0.10")),
        (Path, Path("/tmp/a b")),
        (Colour, Colour.BLUE),
        (Size, Size.LARGE),
        (Mode, Mode.FAST),
        (Access, Access.READ | Access.WRITE),
        (list[Colour], [Colour.RED, Colour.BLUE]),
        (set[int], {1, 2}),
        (frozenset[str], frozenset({"a"})),
        (tuple[int, ...], (1, 2)),
        (tuple[int, str, bytes], (1, "a", b"\xff")),
        (dict[int, Point], {1: Point(x=1)}),
        (dict[Colour, list[bytes]], {Colour.RED: [b"\xff"]}),
        (dict[str, dict[int, set[UUID]]], {"a": {1: {UUID(int=1)}}}),
        (datetime | None, None),
        (int | str, "1"),
        (int | str, 1),
        (datetime | str, datetime(2024, 1, 1, tzinfo=UTC)),
        (Literal["a", "b"], "b"),
        (Literal[1, "1"], "1"),
        (Annotated[int, Field(ge=0)], 3),
        (UserId, 3),
        (Point, Point(x=1, why=2.5)),
        (list[Point], [Point(x=1), Point(x=2, label="b")]),
        (Tree, Tree(Leaf(b"\xff"), datetime(2024, 1, 1), [Tree(Leaf(b""))])),
        (Options, {"raw": b"\xff"}),
        (Pair, Pair(1, Path("a"))),
        (Square, Square(3)),
        (list[Any], [1, 1.0, True, None, "a", {"b": [10**30]}]),
        (Any, {"a": [1.5, False, None, {"b": "c"}]}),
    ],
)
def test_an_annotated_value_comes_back_equal_and_of_its_type(annotation, value):
    back = trip(annotation, value)
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value) or isinstance(value, datetime | set | dict)


@pytest.mark.parametrize("annotation", [float, Any, list[float], Leaf])
def test_not_a_number_comes_back_where_equality_cannot_tell(annotation):
    nan = math.nan
    value = {list[float]: [nan], Leaf: Leaf(b"", nan)}.get(annotation, nan)
    back = trip(annotation, value)
    found = {list[float]: lambda: back[0], Leaf: lambda: back.weight}
    assert math.isnan(found.get(annotation, lambda: back)())


def test_a_repeated_hour_in_a_zone_comes_back_as_the_same_instant():
    second_time = datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1)
    back = trip(datetime, second_time)
    assert back.timestamp() == second_time.timestamp()


JSON_NATIVE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)
NATIVE_CODEC = codec(Any)


@given(JSON_NATIVE)
def test_whatever_json_holds_comes_back_the_same_without_annotation(value):
    back = NATIVE_CODEC.decode(NATIVE_CODEC.encode(value))
    assert repr(back) == repr(value)


TYPED = [
    (dict[int, list[bytes]], st.dictionaries(st.integers(), st.lists(st.binary()))),
    (set[UUID], st.sets(st.uuids())),
    (tuple[float, ...], st.lists(st.floats(allow_nan=False)).map(tuple)),
    (
        list[Decimal | None],
        st.lists(st.none() | st.decimals(allow_nan=False, allow_infinity=False)),
    ),
    (list[date], st.lists(st.dates())),
    (list[datetime], st.lists(st.datetimes(timezones=st.just(UTC) | st.none()))),
    (list[timedelta], st.lists(st.timedeltas())),
    (dict[str, Colour], st.dictionaries(st.text(), st.sampled_from(Colour))),
    (list[Leaf], st.lists(st.builds(Leaf, st.binary(), st.floats(allow_nan=False)))),
]
TYPED_CODECS = [(codec(annotation), values) for annotation, values in TYPED]


@given(st.data(), st.sampled_from(range(len(TYPED))))
def test_typed_containers_come_back_the_same(data, index):
    own, values = TYPED_CODECS[index]
    value = data.draw(values)
    assert own.decode(own.encode(value)) == value


def test_bytes_travel_as_base64_and_special_floats_as_constants():
    assert codec(bytes).encode(b"\xff\xfe") == b'"__4="'
    assert codec(list[float]).encode([math.nan, -math.inf]) == b"[NaN,-Infinity]"


def test_a_value_is_made_what_the_annotation_says():
    assert trip(float, 1) == 1.0
    assert type(trip(float, 1)) is float
    assert trip(list[int], (1, 2)) == [1, 2]


@pytest.mark.parametrize(
    ("value", "back"),
    [
        (Size.LARGE, "int, not Size"),
        (Mode.FAST, "str, not Mode"),
        (Point(x=1), "dict, not Point"),
        (namedtuple("Row", "a")(1), "tuple, not Row"),
    ],
)
def test_an_unannotated_value_that_json_would_change_is_refused_with_the_ways_out(value, back):
    assert refusal(Any, value) == (
        f"the result of task 't' would come back as {back}: annotate what the function returns, "
        f'or declare the task with @task(serializer="cloudpickle")'
    )


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [1, {"b": (Size.SMALL,)}]}, "(at a.1.b.0)"),
        ({"a": {Size.SMALL: 2}}, "(at a.key <Size.SMALL: 1>)"),
        ([True, Size.SMALL], "(at 1)"),
        ([{"flag": 1, "same": Mode.FAST}], "(at 0.same)"),
    ],
)
def test_a_value_deep_inside_that_json_would_change_is_named_by_its_place(value, place):
    assert place in refusal(Any, value)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Point, Point3(x=1, z=2)),
        (list[Point], [Point(x=1), Point3(x=1, z=2)]),
        (datetime | str, "2024-01-01T00:00:00Z"),
        (UUID | str, str(UUID(int=1))),
        (Sequence[int], (1, 2)),
        (Loose, Loose(anything=(1, 2))),
        (Hidden, Hidden(kept_back=5)),
        (Growing, Growing(size=1)),
        (Credentials, Credentials(password="secret")),
        (Corner, Corner.ORIGIN),
        pytest.param(int, 10**5000, id="huge int"),
        pytest.param(dict[str, list[int]], {"a": [10**5000]}, id="huge int inside"),
        (datetime, datetime(1890, 1, 1, tzinfo=BERLIN)),
        (time, time(1, 2, tzinfo=BERLIN)),
    ],
)
def test_an_annotated_value_that_json_would_change_is_refused(annotation, value):
    own = codec(annotation)
    try:
        payload = own.encode(value)
    except SerializationError:
        return
    # datetime | str may keep the two apart, by pydantic's own rules; then all is well.
    assert own.decode(payload) == value
    assert type(own.decode(payload)) is type(value)


@pytest.mark.parametrize("annotation", [Any, Plain])
def test_a_value_that_json_cannot_hold_is_refused_by_its_type(annotation):
    text = refusal(annotation, Plain())
    assert text.startswith("the result of task 't' (Plain) cannot be sent as JSON")
    assert 'serializer="cloudpickle"' in text


def test_a_value_that_contains_itself_is_refused():
    loop: list[Any] = []
    loop.append(loop)
    refusal(Any, loop)


def test_a_result_that_is_not_what_is_annotated_is_refused():
    assert refusal(int, "wide") == (
        "the result of task 't' must be a valid integer, got 'wide' (str)"
    )
    assert "(at 1)" in refusal(list[int], [1, "x", "y"])
    assert refusal(list[int], [1, "x", "y"]).endswith("(and 1 more error)")


def test_a_long_value_is_cut_in_messages():
    assert len(refusal(int, "x" * 10_000)) < 300


@pytest.mark.parametrize("payload", [b"", b"{", b'"text"', b"\xff"])
def test_a_result_that_cannot_be_read_is_a_serialization_error(payload):
    with pytest.raises(SerializationError, match="result of task 't'"):
        codec(int).decode(payload)


@pytest.mark.parametrize(
    "annotation", [Awaitable[bytes], Coroutine[Any, Any, bytes], Annotated[bytes, "doc"]]
)
def test_an_awaitable_annotation_means_what_is_awaited(annotation):
    assert trip(annotation, b"\xff") == b"\xff"


def test_a_coroutine_function_is_annotated_with_its_result():
    async def fn() -> "bytes": ...

    own = ResultCodec(fn, task_name="t", serializer="json")
    assert own.decode(own.encode(b"\xff")) == b"\xff"


def test_what_pydantic_cannot_build_counts_as_any():
    assert trip("NotDefinedAnywhere", {"a": 1}) == {"a": 1}


@pytest.mark.parametrize("value", [{1, 2}, Point3(x=1, z=2), lambda: 1, Colour.RED])
def test_cloudpickle_carries_what_json_does_not(value):
    own = codec(Any, "cloudpickle")
    back = own.decode(own.encode(value))
    assert back() == 1 if callable(value) else back == value


def test_what_cannot_be_pickled_is_refused():
    with pytest.raises(SerializationError, match=r"result of task 't' \(generator\).*send a list"):
        codec(Any, "cloudpickle").encode(x for x in ())


def test_a_broken_pickle_is_a_serialization_error():
    with pytest.raises(SerializationError, match="cannot be unpickled"):
        codec(Any, "cloudpickle").decode(b"not a pickle")


def test_a_json_task_does_not_unpickle_a_message():
    payload = codec(Any, "cloudpickle").encode({"a": 1})
    with pytest.raises(SerializationError):
        codec(Any).decode(payload)


def test_large_closed_values_are_not_decoded_for_a_trial(monkeypatch):
    own = codec(bytes)
    json_results: Any = own._results
    monkeypatch.setattr(json_results._type, "load", pytest.fail)
    assert len(own.encode(b"x" * 20_000_000)) > 26_000_000


def test_importing_the_codecs_imports_neither_pydantic_nor_cloudpickle():
    code = (
        "import sys, jtask.serialization.arguments, jtask.serialization.results;"
        "import jtask.wire.failures;"
        "print([m for m in ('pydantic', 'cloudpickle') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# What changes without a word


@dataclass
class Stamped:
    name: str
    stamp: float = field(init=False, compare=False, default=0.0)


class Secretive(BaseModel):
    shown: int = 1
    _hidden: int = PrivateAttr(default=0)


@pytest.mark.parametrize(
    ("given", "back"),
    [
        ([1.5], [1.5]),
        ((1.0, 2.0), (1.0, 2.0)),
        ({1.0}, {1.0}),
        (frozenset({1.0}), frozenset({1.0})),
        (deque([1.0], maxlen=3), deque([1.0], maxlen=3)),
        (range(2), [0.0, 1.0]),
    ],
)
@pytest.mark.parametrize(
    "annotation", [Iterable[float], typing.Iterable[float], Iterable[float] | None]
)
def test_an_iterable_comes_back_as_what_can_be_read_again(annotation, given, back):
    for value in (trip(annotation, given), trip(list[annotation], [given])[0]):
        assert value == back
        assert type(value) is type(back)


def test_an_iterable_has_its_items_typed():
    assert trip(Iterable[Leaf], [Leaf(b"\xff")]) == [Leaf(b"\xff")]
    assert trip(Iterable, [1, "a"]) == [1, "a"]


@pytest.mark.parametrize("annotation", [Iterator[int], typing.Generator[int, None, None], Any])
def test_an_iterator_is_refused(annotation):
    assert "not generator" in refusal(annotation, (n for n in range(3)))


def test_undeclared_keys_of_a_typed_dict_are_refused():
    text = "has a key 'extra' that its TypedDict does not declare"
    assert text in refusal(Options, {"depth": 1, "extra": 2})
    assert f"{text} (at 1)" in refusal(list[Options], [{}, {"extra": 2}])
    assert f"{text} (at a)" in refusal(dict[str, Options | None], {"a": {"extra": 2}})
    assert trip(dict[str, Options], {"a": {"depth": 1}}) == {"a": {"depth": 1}}
    # What another language sends along is not the function's loss.
    assert codec(Options).decode(b'{"depth":1,"extra":2}') == {"depth": 1}


def test_fields_that_do_not_count_for_equality_are_refused_if_they_would_be_lost():
    assert trip(Stamped, Stamped("a")) == Stamped("a")
    stamped = Stamped("a")
    stamped.stamp = 5.0
    assert "(at stamp)" in refusal(Stamped, stamped)
    secretive = Secretive()
    assert trip(Secretive, secretive) == secretive
    secretive._hidden = 5
    assert "(at _hidden)" in refusal(Secretive, secretive)


@pytest.mark.parametrize("kind", [set, frozenset])
def test_one_instant_in_two_zones_is_not_the_same_member(kind):
    value = kind([datetime(2024, 1, 1, tzinfo=BERLIN)])
    (back,) = trip(kind[datetime], value)
    assert back.tzinfo is BERLIN


class Zone(tzinfo):
    """One of another library."""

    def utcoffset(self, moment):
        return None if moment is None else timedelta(hours=moment.month)

    def dst(self, moment):
        return None


def test_a_zone_that_cannot_be_found_elsewhere_is_refused():
    assert "would come back" in refusal(datetime, datetime(2024, 1, 1, tzinfo=Zone()))
    assert "would come back" in refusal(Any, datetime(2024, 1, 1, tzinfo=Zone()))


@pytest.mark.parametrize(
    "annotation", [Plain, Iterator[int], typing.AsyncIterator[int], Callable[[], int], type[int]]
)
def test_a_return_annotation_of_which_nothing_can_be_sent_is_refused_for_serving(annotation):
    with pytest.raises(TaskDefinitionError, match=r"task 't' is declared to return .*cloudpickle"):
        codec(annotation).check_annotation()
    codec(annotation, "cloudpickle").check_annotation()


@pytest.mark.parametrize(
    "annotation",
    [None, Any, object, int, Plain | None, Iterable[int], Point, Tree, Sequence[Path], "Nowhere"],
)
def test_other_return_annotations_are_accepted(annotation):
    codec(annotation).check_annotation()


# Pickles of another Python


def test_a_pickle_says_which_python_wrote_it_and_another_one_refuses_it():
    own = codec(Any, "cloudpickle")
    payload = own.encode(5)
    written_by, _, pickled = payload.partition(b"\n")
    assert written_by == b"Python %d.%d" % sys.version_info[:2]
    assert own.decode(payload) == 5
    with pytest.raises(SerializationError) as caught:
        own.decode(b"Python 3.1\n" + pickled)
    assert str(caught.value) == (
        f"the result of task 't' cannot be unpickled: written by Python 3.1, this is "
        f"{written_by.decode()}; run callers and workers with the same minor version"
    )
    with pytest.raises(SerializationError) as caught:
        own.decode(b"Python " + b"\xff" * 5000)
    assert len(str(caught.value)) < 300


def test_a_pickle_from_before_they_said_so_is_read():
    own = codec(Any, "cloudpickle")
    assert own.decode(own.encode(5).partition(b"\n")[2]) == 5
