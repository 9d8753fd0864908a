from __future__ import annotations

import dataclasses
import functools
import math
import socket
import threading
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NotRequired, Required, TypedDict, Unpack
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from jtask.errors import ArgumentError, SerializationError
from jtask.serialization.arguments import ArgumentCodec

if typing.TYPE_CHECKING:
    from decimal import Decimal as OnlyForCheckers


class Colour(Enum):
    RED = "red"


class Choice(TypedDict):
    name: Required[str]
    raw: NotRequired[bytes]


class Request(BaseModel):
    path: Path
    when: datetime | None = None


class Picture(BaseModel):
    raw: bytes


class EncodedPicture(Picture):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


@dataclass
class Job:
    number: int
    tag: bytes = b""

    def run(self, times: int = 1) -> int:
        return self.number * times

    def inner_class(cls, times: int) -> int: ...


@dataclass
class UrgentJob(Job):
    reason: str = ""


@dataclass
class Square:
    side: int
    area: int = field(init=False)

    def __post_init__(self) -> None:
        self.area = self.side**2


class Connection:
    def query(self, text: str) -> None: ...


def resize(path: str, width: int = 100) -> str: ...


def codec(fn: Callable[..., Any], owner: type | None = None, serializer: Any = "json"):
    return ArgumentCodec(fn, task_name=fn.__name__, serializer=serializer, owner=owner)


def trip(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function with what comes back."""
    own = codec(fn)
    back_args, back_kwargs = own.decode(own.encode(args, kwargs))
    return fn(*back_args, **back_kwargs)


def refusal(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    with pytest.raises((ArgumentError, SerializationError)) as caught:
        codec(fn).encode(args, kwargs)
    return str(caught.value)


# What is on the wire


def test_only_given_arguments_travel_in_one_object_by_name():
    own = codec(resize)
    assert own.encode(("a.png",), {}) == b'{"path":"a.png"}'
    assert own.encode(("a.png",), {"width": 200}) == b'{"path":"a.png","width":200}'
    assert own.encode((), {"width": 200, "path": "a"}) == b'{"path":"a","width":200}'


def test_arguments_of_odd_kinds_travel_by_name_too():
    def fn(a: int, /, b: int, *rest: bytes, c: int = 0, **more: float): ...

    assert codec(fn).encode((1, 2, b"\xff"), {"c": 3, "x": 1}) == (
        b'{"a":1,"b":2,"rest":["_w=="],"c":3,"more":{"x":1.0}}'
    )


def test_a_call_without_arguments_is_an_empty_object():
    def fn(): ...

    assert codec(fn).encode((), {}) == b"{}"
    assert codec(fn).decode(b"{}") == ((), {})


def test_the_workers_own_defaults_fill_what_was_not_given():
    def old(path: str, width: int = 100): ...

    def new(path: str, width: int = 300, depth: int = 8):
        return path, width, depth

    args, kwargs = codec(new).decode(codec(old).encode(("a",), {}))
    assert new(*args, **kwargs) == ("a", 300, 8)


# Signatures


def keep(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def test_positional_only_arguments_come_back_by_position():
    def fn(a, b=5, /, c=6):
        return a, b, c

    assert trip(fn, 1) == (1, 5, 6)
    assert trip(fn, 1, 2) == (1, 2, 6)
    assert trip(fn, 1, c=3) == (1, 5, 3)


def test_a_gap_before_a_later_positional_only_argument_is_filled_with_its_default():
    def fn(a, b=5, c=6, /):
        return a, b, c

    args, kwargs = codec(fn).decode(b'{"a": 1, "c": 3}')
    assert fn(*args, **kwargs) == (1, 5, 3)


def test_var_arguments_come_back_with_defaults_before_them():
    def fn(a, b=5, *rest: UUID, flag=False, **more: Colour):
        return a, b, rest, flag, more

    some = UUID(int=1)
    assert trip(fn, 1) == (1, 5, (), False, {})
    assert trip(fn, 1, 2, some, flag=True, x=Colour.RED) == (1, 2, (some,), True, {"x": Colour.RED})
    args, kwargs = codec(fn).decode(b'{"a": 1, "rest": ["%s"]}' % str(some).encode())
    assert fn(*args, **kwargs) == (1, 5, (some,), False, {})


def test_a_keyword_may_have_the_name_of_a_positional_only_parameter():
    def fn(a, /, **more):
        return a, more

    assert trip(fn, 1, a=2) == (1, {"a": 2})


def test_keyword_only_arguments_come_back():
    def fn(a, *, when: datetime, size: int = 1):
        return a, when, size

    now = datetime.now(UTC)
    assert trip(fn, 1, when=now) == (1, now, 1)


def test_unpacked_typed_dicts_type_each_keyword():
    def fn(**choice: Unpack[Choice]):
        return choice

    assert trip(fn, name="a", raw=b"\xff") == {"name": "a", "raw": b"\xff"}
    assert "argument 'choice' (at name)" in refusal(fn, raw=b"")
    assert "argument 'choice' has a key 'other'" in refusal(fn, name="a", other=1)


def test_typed_dicts_of_the_standard_library_are_known_inside_containers():
    def fn(choices: list[Choice] | None):
        return choices

    assert trip(fn, [{"name": "a", "raw": b"\xff"}]) == [{"name": "a", "raw": b"\xff"}]


def test_a_callable_object_is_called_by_its_own_signature():
    class Resizer:
        __name__ = "resizer"

        def __call__(self, when: datetime, width: int = 1):
            return when, width

    now = datetime.now(UTC)
    assert trip(Resizer(), now) == (now, 1)


def test_a_partial_function_needs_only_the_rest():
    def fn(a: bytes, b: datetime, c: int = 0):
        return a, b, c

    part = functools.partial(fn, b"\xff", c=3)
    part.__name__ = "part"  # type: ignore[attr-defined]
    now = datetime.now(UTC)
    assert trip(part, now) == (b"\xff", now, 3)


def test_a_wrapped_function_is_typed_by_what_it_wraps():
    def fn(when: datetime):
        return when

    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs)

    now = datetime.now(UTC)
    assert trip(wrapper, now) == now


def decorated(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    return wrapper


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((1,), {}),
        ((1, 2), {}),
        ((1,), {"b": 2}),
        ((), {"a": 1}),
        ((), {"a": 1, "b": 2, "c": 3}),
        ((1,), {"b": (2,), "c": 3}),
        ((), {"b": 2}),
        ((1,), {"c": {3}}),
    ],
)
def test_a_decorator_gets_arguments_by_position_and_by_name_as_they_were_given(args, kwargs):
    def fn(a=0, b=0, *, c=0): ...

    assert trip(decorated(fn), *args, **kwargs) == (args, kwargs)
    part = functools.partial(decorated(fn), c=9)
    part.__name__ = "part"  # type: ignore[attr-defined]
    assert trip(part, *args, **kwargs) == (args, {"c": 9, **kwargs})


def test_a_decorator_that_takes_positions_only_is_called_with_positions():
    def wrapper(a, b=5, /):  # not by the signature that it shows
        return a, b

    def fn(a, b=6): ...

    functools.update_wrapper(wrapper, fn)
    assert trip(wrapper, 1, 2) == (1, 2)
    assert trip(wrapper, 1) == (1, 5)
    # As any language writes it.
    args, kwargs = codec(wrapper).decode(b'{"a":1,"b":2}')
    assert wrapper(*args, **kwargs) == (1, 2)


def test_a_function_that_dispatches_by_its_first_argument_gets_one():
    @functools.singledispatch
    def show(value):
        return "anything"

    @show.register
    def _(value: int):
        return "a number"

    assert trip(show, 5) == "a number"
    assert trip(show, "a") == "anything"


def test_plain_functions_need_not_be_told_what_was_given_by_position():
    assert codec(resize).encode((), {"path": "a"}) == b'{"path":"a"}'
    assert codec(resize).decode(b'{"path":"a","/":1}') == ((), {"path": "a"})
    assert codec(decorated(resize)).encode(("a",), {}) == b'{"path":"a"}'
    assert codec(decorated(resize)).encode((), {"path": "a"}) == b'{"path":"a","/":0}'


@pytest.mark.parametrize("count", [b"-1", b"99", b'"x"', b"null", b"1e400"])
def test_an_odd_count_of_positions_reaches_no_function_as_an_argument(count):
    own = codec(decorated(resize))
    try:
        args, kwargs = own.decode(b'{"path":"a","/":%b}' % count)
    except (ArgumentError, SerializationError):
        return
    assert (args, kwargs) in [(("a",), {}), ((), {"path": "a"})]


def test_annotations_that_exist_only_for_checkers_count_as_any():
    def fn(amount: OnlyForCheckers, when: datetime):
        return amount, when

    now = datetime.now(UTC)
    assert trip(fn, "1.5", now) == ("1.5", now)
    assert trip(fn, now, now) == (now, now)
    assert "would come back as str, not Colour" in refusal(fn, Colour.RED, now)


def test_local_classes_that_a_function_closes_over_are_resolved():
    @dataclass
    class Local:
        when: datetime

    def fn(item: Local):
        return item, Local

    now = datetime.now(UTC)
    assert trip(fn, Local(now))[0] == Local(now)


def test_a_type_that_pydantic_cannot_build_leaves_the_other_arguments_typed():
    def fn(broken, when: datetime):
        return broken, when

    fn.__annotations__["broken"] = typing.ClassVar[int]
    now = datetime.now(UTC)
    assert trip(fn, 1, now) == (1, now)


# Arguments that do not fit


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((), {}, "task 'resize' is missing argument 'path'"),
        ((), {"width": 1}, "task 'resize' is missing argument 'path'"),
        (
            ("a",),
            {"widht": 1},
            "task 'resize' has no argument 'widht'; did you mean 'width'?",
        ),
        (("a",), {"zzz": 1}, "task 'resize' has no argument 'zzz'"),
        (("a",), {"path": "b"}, "task 'resize' has two values for argument 'path'"),
        (("a", 1, 2), {}, "task 'resize' takes 2 positional arguments, got 3"),
        (
            ("a", "wide"),
            {},
            "task 'resize': argument 'width' must be a valid integer, got 'wide' (str)",
        ),
        (
            (1, "wide"),
            {},
            "task 'resize': argument 'path' must be a valid string, got 1 (int) (and 1 more error)",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_one_sentence(args, kwargs, text):
    with pytest.raises(ArgumentError) as caught:
        codec(resize).encode(args, kwargs)
    assert str(caught.value) == text


@pytest.mark.parametrize("serializer", ["json", "cloudpickle"])
def test_an_argument_by_name_that_is_taken_by_position_only_is_told_so(serializer):
    def fn(a, /, b): ...

    with pytest.raises(ArgumentError, match="task 'fn' takes argument 'a' by position only"):
        codec(fn, serializer=serializer).encode((), {"a": 1, "b": 2})


@pytest.mark.parametrize("serializer", ["json", "cloudpickle"])
def test_odd_signatures_are_checked_alike_by_both_serializers(serializer):
    def fn(a, /, b, *rest, c, **more): ...

    own = codec(fn, serializer=serializer)
    for args, kwargs, text in [
        ((1,), {"c": 1}, "is missing argument 'b'"),
        ((1, 2), {}, "is missing argument 'c'"),
        ((1, 2), {"b": 2, "c": 1}, "has two values for argument 'b'"),
    ]:
        with pytest.raises(ArgumentError, match=text):
            own.encode(args, kwargs)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"{}", "is missing argument 'path'"),
        (b'{"path":"a","widht":1}', "did you mean 'width'"),
        (b'{"path":"a","width":[]}', "argument 'width' must be a valid integer, got"),
        (b"[1]", "takes one JSON object of arguments by name"),
        (b"null", "takes one JSON object of arguments by name"),
    ],
)
def test_a_payload_that_does_not_fit_the_signature_is_an_argument_error(payload, text):
    with pytest.raises(ArgumentError, match=text):
        codec(resize).decode(payload)


def test_what_arrives_for_a_class_that_json_cannot_carry_is_refused_without_words_of_pydantics():
    def fn(lock: threading.Event): ...

    text = r"'lock' is annotated with a class that JSON cannot carry, got 7 \(int\)$"
    with pytest.raises(ArgumentError, match=text):
        codec(fn).decode(b'{"lock":7}')


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b'{"path":"\xff"}', b"\x80\x05N."])
def test_a_payload_that_is_no_json_is_a_serialization_error(payload):
    with pytest.raises(SerializationError, match="task 'resize'"):
        codec(resize).decode(payload)


def test_a_payload_may_not_name_a_parameter_among_the_extra_keywords():
    def fn(a, **more): ...

    with pytest.raises(ArgumentError, match="two values for argument 'a'"):
        codec(fn).decode(b'{"a": 1, "more": {"a": 2}}')


def test_whatever_an_annotations_validator_raises_is_an_argument_error():
    def fn(a: typing.Annotated[int, AfterValidator(lambda _: {}["missing"])]): ...

    fn.__annotations__["a"] = typing.Annotated[int, AfterValidator(lambda _: {}["missing"])]
    assert refusal(fn, 1) == "task 'fn' cannot check its arguments: KeyError: 'missing'"


# Arguments that would not survive


def test_an_unannotated_argument_that_json_would_change_is_named_with_the_ways_out():
    def fn(a, when): ...

    assert refusal(fn, 1, Colour.RED) == (
        "argument 'when' of task 'fn' would come back as str, not Colour: annotate the "
        'parameter with its type, or declare the task with @task(serializer="cloudpickle")'
    )


def test_an_argument_that_json_cannot_hold_is_named_with_the_ways_out():
    def fn(a: int, connection: socket.socket): ...

    with socket.socket() as connection:
        text = refusal(fn, 1, connection)
    assert text.startswith("argument 'connection' of task 'fn' (socket) cannot be sent as JSON")
    assert text.endswith('or declare the task with @task(serializer="cloudpickle")')


@pytest.mark.parametrize("serializer", ["json", "cloudpickle"])
def test_what_goes_on_in_this_process_is_refused_with_what_to_send_instead(serializer: Any) -> None:
    def fn(value): ...

    async def later(): ...

    async def items():
        yield 1

    waiting = later()
    for value, instead in (
        (waiting, "await the coroutine, and send its value"),
        ([waiting], "await the coroutine, and send its value"),
        (items(), "send a list of what the generator yields"),
        ((number for number in [1]), "send a list of what the generator yields"),
    ):
        with pytest.raises(SerializationError, match=f"'value' of task 'fn'.*: {instead}$"):
            codec(fn, serializer=serializer).encode((value,), {})
    waiting.close()


@pytest.mark.parametrize(
    ("serializer", "depth"), [("json", 300), ("json", 100_000), ("cloudpickle", 100_000)]
)
def test_what_is_nested_too_deeply_is_refused_by_name(serializer: Any, depth: int) -> None:
    def fn(value): ...

    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    with pytest.raises(SerializationError, match="argument 'value' of task 'fn'"):
        codec(fn, serializer=serializer).encode((value,), {})


def test_a_subclass_that_would_lose_fields_is_refused():
    def fn(request: Request, job: Job): ...

    request = Request(path=Path("a"))
    text = refusal(fn, request, UrgentJob(1, reason="now"))
    assert text.startswith("argument 'job' of task 'fn' would come back as Job, not UrgentJob")


def test_a_field_that_does_not_keep_to_its_annotation_is_refused_with_the_type_that_it_wants():
    @dataclass
    class Price:
        amount: float

    def fn(price): ...

    fn.__annotations__["price"] = Price
    text = refusal(fn, Price(2))
    assert "2.0 (float) in place of 2 (int) (at amount): put one of type float there, " in text


def test_an_annotation_whose_validator_changes_its_own_output_is_refused():
    def fn(a: int): ...

    fn.__annotations__["a"] = typing.Annotated[int, AfterValidator(lambda n: n + 1)]
    assert "with 3 (int) in place of 2 (int)" in refusal(fn, 1)


def test_closed_arguments_are_not_decoded_for_a_trial_beside_open_ones(monkeypatch):
    def fn(data: bytes, count: int, when: datetime): ...

    own = codec(fn)
    inner: Any = own._arguments
    monkeypatch.setattr(inner, "_load", pytest.fail)
    tried: list[Any] = []
    load = inner._partial.load
    monkeypatch.setattr(inner._partial, "load", lambda p: tried.append(p) or load(p))
    own.encode((b"x" * 10_000, 1, datetime(2024, 1, 1)), {})
    assert tried == [b'{"count":1,"when":"2024-01-01T00:00:00"}']


def test_a_dataclass_field_that_init_does_not_take_is_computed_again():
    def fn(square: Square):
        return square

    assert trip(fn, Square(3)) == Square(3)
    changed = Square(3)
    changed.area = 1
    assert "with 9 (int) in place of 1 (int) (at area)" in refusal(fn, changed)


# Methods


def test_self_is_typed_by_the_class_that_owns_the_method():
    own = codec(Job.run, owner=Job)
    args, kwargs = own.decode(own.encode((Job(2, b"\xff"), 3), {}))
    assert Job.run(*args, **kwargs) == 6
    assert kwargs["self"] == Job(2, b"\xff")


def test_self_of_a_plain_class_is_refused_with_the_ways_out():
    with pytest.raises(SerializationError) as caught:
        codec(Connection.query, owner=Connection).encode((Connection(), "x"), {})
    assert "make Connection a dataclass or a pydantic model, or declare" in str(caught.value)


def test_self_of_a_subclass_that_would_lose_fields_is_refused():
    with pytest.raises(
        SerializationError,
        match="would come back as Job, not UrgentJob: define the task in the subclass too, or",
    ):
        codec(Job.run, owner=Job).encode((UrgentJob(2),), {})


def test_bytes_in_a_model_travel_whether_or_not_it_writes_them_as_base64():
    def plain(model: Picture) -> Picture:
        return model

    def encoding(model: EncodedPicture) -> EncodedPicture:
        return model

    assert trip(plain, Picture(raw=b"\xff")).raw == b"\xff"
    assert trip(encoding, EncodedPicture(raw=b"\xff")).raw == b"\xff"


def test_a_word_in_capitals_stays_so_in_a_message():
    def find(number: UUID) -> None: ...

    assert "is wrong: UUID input should be" in refusal(find, 1)


@pytest.mark.parametrize("cls", [Job, UrgentJob])
def test_a_class_methods_class_travels_by_name(cls):
    own = codec(Job.inner_class, owner=Job)
    payload = own.encode((cls, 3), {})
    assert f'"cls":"{cls.__module__}:{cls.__name__}"'.encode() in payload
    assert own.decode(payload)[1]["cls"] is cls


@pytest.mark.parametrize("name", ["subprocess:Popen", "builtins:int", "antigravity:X", "x"])
def test_a_class_outside_the_owners_family_is_refused_and_not_imported(name):
    own = codec(Job.inner_class, owner=Job)
    with pytest.raises(ArgumentError, match="'cls' is wrong: not Job or a subclass"):
        own.decode(b'{"cls":"%s","times":1}' % name.encode())
    with pytest.raises(ArgumentError):
        own.encode((Connection, 1), {})


# Many


def test_many_calls_give_what_each_gives_alone():
    own = codec(resize)
    calls = [("a",), ("b", 2), ("c", "3")]
    assert own.encode_many(calls) == [own.encode(call, {}) for call in calls]
    with pytest.raises(ArgumentError, match="is missing argument 'path'"):
        own.encode_many([("a",), ()])


def nothing() -> None: ...


def scalars(a: int, b: str, c: float | None, d: bytes = b"") -> None: ...


def containers(a: list[int], b: dict[str, float], c: set[UUID]) -> None: ...


def renamed(a: Annotated[int, Field(alias="b")]) -> None: ...


def by_name_too(a: int, *, b: int = 1) -> None: ...


@pytest.mark.parametrize(
    ("fn", "calls"),
    [
        (nothing, [(), ()]),
        (resize, [("a", "3"), ('é\n"\ud7ff', 2)]),
        (resize, [("a", 10**4000), ("b", 10**4299)]),
        (scalars, [(1, "b", None, b"\xff"), (True, "", math.inf, b"")]),
        (scalars, [(1, "b", 2)]),
        (containers, [([], {}, set()), ([1, "2"], {"a": 1}, {UUID(int=1)})]),
        (renamed, [(1,), (2,)]),
        (by_name_too, [(1,), (2,)]),
    ],
)
def test_many_alike_calls_give_what_each_gives_alone(fn: Callable[..., None], calls):
    own = codec(fn)
    assert own.encode_many(calls) == [own.encode(call, {}) for call in calls]


def test_of_many_calls_no_iterator_arrives_empty_because_it_was_read_twice():
    def total(n: int, each: list[int]) -> None: ...

    own = codec(total)
    assert own.encode_many([(1, iter([1, 2]))]) == [b'{"n":1,"each":[1,2]}']
    with pytest.raises(ArgumentError, match="can be read once only"):
        own.encode_many([(1, iter([1, 2])), (2, [7] * 5000)])


@pytest.mark.parametrize(
    ("fn", "wrong"),
    [
        (resize, ("a", "x")),
        (resize, ("a", 1, 2)),
        (resize, ("\udc00", 1)),
        (nothing, (1,)),
        (scalars, (1, "b")),
        (by_name_too, (1, 2)),
    ],
)
def test_of_many_calls_a_wrong_one_is_refused_as_it_is_alone(fn: Callable[..., None], wrong):
    own = codec(fn)
    with pytest.raises((ArgumentError, SerializationError)) as alone:
        own.encode(wrong, {})
    with pytest.raises(alone.type) as among_many:
        own.encode_many([wrong, wrong])
    assert str(among_many.value) == str(alone.value)


@pytest.mark.parametrize("option", ["wait_for", "countdown", "priority"])
def test_an_option_of_the_run_that_is_given_as_an_argument_is_told_where_it_belongs(option: str):
    def resize(path, priorities=None): ...

    near = "'priorities'" if option == "priority" else rf"apply_async\(.*{option}="
    with pytest.raises(ArgumentError, match=f"task 'resize' has no argument '{option}'.*{near}"):
        codec(resize).encode(("a",), {option: 1})


# cloudpickle


def test_cloudpickle_carries_any_objects_by_position_and_name():
    def fn(a, /, *rest, key, **more):
        return a, rest, key, more

    own = codec(fn, serializer="cloudpickle")
    args, kwargs = own.decode(own.encode((1, {2}, (3,)), {"key": lambda: 4, "x": Colour.RED}))
    a, rest, key, more = fn(*args, **kwargs)
    assert (a, rest, key(), more) == (1, ({2}, (3,)), 4, {"x": Colour.RED})


def test_an_argument_that_cannot_be_pickled_is_named():
    with pytest.raises(SerializationError) as caught:
        codec(keep, serializer="cloudpickle").encode((), {"lock": threading.Lock()})
    assert "argument 'kwargs' of task 'keep' cannot be pickled" in str(caught.value)

    def fn(a, lock): ...

    with pytest.raises(SerializationError, match=r"argument 'lock' of task 'fn'.*make it in the"):
        codec(fn, serializer="cloudpickle").encode((1, threading.Lock()), {})


def test_a_pickle_of_other_arguments_does_not_reach_the_function():
    def other(a, b, c): ...

    payload = codec(other, serializer="cloudpickle").encode((1, 2, 3), {})
    with pytest.raises(ArgumentError, match="takes 2 positional arguments"):
        codec(resize, serializer="cloudpickle").decode(payload)


@pytest.mark.parametrize("payload", [b"", b"{}", b"\x80\x05N.", b"\x80\x05K\x01."])
def test_what_is_no_pickle_of_arguments_is_a_serialization_error(payload):
    with pytest.raises(SerializationError, match="task 'resize'"):
        codec(resize, serializer="cloudpickle").decode(payload)


def test_arguments_that_another_python_has_pickled_are_refused():
    own = codec(keep, serializer="cloudpickle")
    pickled = own.encode((1,), {}).partition(b"\n")[2]
    with pytest.raises(SerializationError, match=r"arguments of task 'keep' .* by Python 2\.7"):
        own.decode(b"Python 2.7\n" + pickled)
    assert own.decode(pickled) == ((1,), {})


def test_a_json_task_never_unpickles(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    payload = codec(keep, serializer="cloudpickle").encode((Trap(),), {})
    with pytest.raises(SerializationError):
        codec(keep).decode(payload)
    assert not (tmp_path / "sprung").exists()


# Properties


def everything(
    a: int, b: list[bytes], /, c: dict[int, str | None], *rest: tuple[float, bool], **more: UUID
):
    return a, b, c, rest, more


EVERYTHING = codec(everything)


@given(
    st.integers(),
    st.lists(st.binary()),
    st.dictionaries(st.integers(), st.none() | st.text()),
    st.lists(st.tuples(st.floats(allow_nan=False), st.booleans())),
    st.dictionaries(st.text(), st.uuids()),
)
def test_any_typed_call_arrives_as_it_was_made(a, b, c, rest, more):
    more.pop("c", None)
    args, kwargs = EVERYTHING.decode(EVERYTHING.encode((a, b, c, *rest), more))
    assert everything(*args, **kwargs) == (a, b, c, tuple(rest), more)


KEEP = codec(keep)
NATIVE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(NATIVE), st.dictionaries(st.text(), NATIVE))
def test_any_json_native_call_arrives_as_it_was_made(args, kwargs):
    assert KEEP.decode(KEEP.encode(tuple(args), kwargs)) == (tuple(args), kwargs)


def test_dataclass_defaults_come_from_the_class():
    own = codec(Job.run, owner=Job)
    _, kwargs = own.decode(b'{"self":{"number":2}}')
    assert kwargs["self"] == Job(2)
    assert dataclasses.asdict(kwargs["self"]) == {"number": 2, "tag": b""}
