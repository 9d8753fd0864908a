"""What is found inside of arguments, and put in its place."""

import functools
from collections import Counter, OrderedDict, UserDict, defaultdict, deque
from dataclasses import InitVar, dataclass, field
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, ConfigDict

from jtask.annotations import allow_failure, opaque, quote, unmapped
from jtask.errors import SerializationError
from jtask.nested_values import find_nested, replace_nested


class Mark:
    """What is looked for."""

    def __init__(self, name: str) -> None:
        self.name = name


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclass(frozen=True)
class Box:
    inside: Any
    other: int = 0


class Model(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    inside: Any
    other: int = 0


class OpenModel(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="allow")


class Crate:
    """Has its fields where classes of attrs have them."""

    __attrs_attrs__ = (SimpleNamespace(name="inside"), SimpleNamespace(name="other"))

    def __init__(self, inside: Any, other: int) -> None:
        self.inside, self.other = inside, other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Crate) and vars(self) == vars(other)


class Named:
    """Takes other arguments than the containers that it is a part of."""

    def __init__(self, *, name: str) -> None:
        super().__init__()
        self.name = name


class NamedList(Named, list[Any]): ...


class NamedSet(Named, set[Any]):
    def __reduce__(self) -> Any:
        return functools.partial(NamedSet, name=self.name), ()


class NamedDict(Named, dict[str, Any]): ...


class Two(tuple[Any, ...]):
    def __new__(cls, left: Any, right: Any) -> "Two":
        return super().__new__(cls, (left, right))


class OddMapping(UserDict[str, Any]):
    def __init__(self, *, item: Any) -> None:
        super().__init__(item=item)


class LyingMapping(UserDict[str, Any]):
    def __init__(self, item: Any) -> None:
        super().__init__(item=item)


def replaced(value: Any) -> Any:
    return replace_nested(value, Mark, lambda mark, allowed: (mark.name, allowed))


ONE = ("one", False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Mark("one"), ONE),
        ([1, Mark("one")], [1, ONE]),
        ((Mark("one"), 2), (ONE, 2)),
        ({Mark("one")}, {ONE}),
        (frozenset({Mark("one")}), frozenset({ONE})),
        ({"a": [Mark("one")]}, {"a": [ONE]}),
        ({Mark("one"): 1}, {ONE: 1}),
        (OrderedDict(a=Mark("one")), OrderedDict(a=ONE)),
        (deque([Mark("one"), 2], maxlen=2), deque([ONE, 2], maxlen=2)),
        (Counter(a=Mark("one")), Counter(a=ONE)),
        (UserDict(a=Mark("one")), UserDict(a=ONE)),
        (MappingProxyType({"a": Mark("one")}), {"a": ONE}),
        (Pair(Mark("one"), 2), Pair(ONE, 2)),
        (Two(Mark("one"), 2), Two(ONE, 2)),
        (Box(Mark("one"), 3), Box(ONE, 3)),
        (Box([{"deep": Mark("one")}]), Box([{"deep": ONE}])),
        (Model(inside=Mark("one"), other=3), Model(inside=ONE, other=3)),
        (
            OpenModel.model_validate({"inside": Mark("one")}),
            OpenModel.model_validate({"inside": ONE}),
        ),
        (Crate(Mark("one"), 3), Crate(ONE, 3)),
        (unmapped([Mark("one")]), [ONE]),
        (allow_failure([Mark("one"), 2]), [("one", True), 2]),
        (opaque(Mark("one")), ONE),
    ],
)
def test_each_instance_is_replaced_however_deep_it_is(value: Any, expected: Any) -> None:
    assert replaced(value) == expected
    assert type(replaced(value)) is type(expected) or isinstance(value, MappingProxyType)


def test_a_container_of_ones_own_class_keeps_its_attributes_whatever_its_init_takes() -> None:
    a_list, a_set, a_dict = NamedList(name="x"), NamedSet(name="x"), NamedDict(name="x")
    a_list.append(Mark("one"))
    a_set.add(Mark("one"))
    a_dict["a"] = Mark("one")
    for value, expected in ((a_list, [ONE]), (a_set, {ONE}), (a_dict, {"a": ONE})):
        new = replaced(value)
        assert new == expected
        assert type(new) is type(value)
        assert new.name == "x"
        assert value != expected


def test_a_defaultdict_keeps_its_factory() -> None:
    new = replaced(defaultdict(list, a=Mark("one")))
    assert new == {"a": ONE}
    assert new["b"] == []


def test_an_object_keeps_what_is_no_field_of_it() -> None:
    @dataclass
    class Priced:
        inside: Any
        cents: InitVar[int]
        euros: float = field(init=False)

        def __post_init__(self, cents: int) -> None:
            self.euros = cents / 100
            self.note = "not a field"

    new = replaced(Priced(Mark("one"), 250))
    assert (new.inside, new.euros, new.note) == (ONE, 2.5, "not a field")


@pytest.mark.parametrize("value", [OddMapping(item=Mark("one")), LyingMapping(Mark("one"))])
def test_what_cannot_be_made_again_is_refused_by_its_class(value: Any) -> None:
    with pytest.raises(SerializationError, match=f"no {type(value).__name__} can be made .*: pass"):
        replaced(value)
    assert find_nested(value, Mark)


@pytest.mark.parametrize("wrapper", [quote, opaque])
def test_what_is_quoted_or_opaque_is_not_looked_into(wrapper: Any) -> None:
    inside = [Mark("one")]
    assert replaced([wrapper(inside)])[0] is inside


def test_a_quoted_instance_stays() -> None:
    mark = Mark("one")
    assert replaced(quote(mark)) is mark


@pytest.mark.parametrize(
    "value", [[1, [2]], (1,), {"a": {2}}, Box(1), Model(inside=1), "text", b"bytes", 1, None, Box]
)
def test_what_holds_no_instance_is_returned_as_it_is(value: Any) -> None:
    assert replaced(value) is value


def test_a_value_that_holds_itself_ends() -> None:
    ring: list[Any] = [Mark("one")]
    ring.append(ring)
    assert replaced(ring)[0] == ONE


def test_all_instances_are_found_in_their_order() -> None:
    one, two = Mark("one"), Mark("two")
    assert find_nested([one, {"a": quote(one), "b": Box(two)}], Mark) == [one, two]


def test_an_annotation_is_not_iterated_by_mistake() -> None:
    with pytest.raises(TypeError, match="unmapped"):
        iter(unmapped([1]))
