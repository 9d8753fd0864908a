"""What is found inside of arguments, and put in its place."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, ConfigDict

from jtask.annotations import allow_failure, opaque, quote, unmapped
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
        (Pair(Mark("one"), 2), Pair(ONE, 2)),
        (Box(Mark("one"), 3), Box(ONE, 3)),
        (Box([{"deep": Mark("one")}]), Box([{"deep": ONE}])),
        (Model(inside=Mark("one"), other=3), Model(inside=ONE, other=3)),
        (unmapped([Mark("one")]), [ONE]),
        (allow_failure([Mark("one"), 2]), [("one", True), 2]),
        (opaque(Mark("one")), ONE),
    ],
)
def test_each_instance_is_replaced_however_deep_it_is(value: Any, expected: Any) -> None:
    assert replaced(value) == expected


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
