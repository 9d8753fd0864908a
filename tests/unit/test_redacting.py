"""What a task may name that is not to be recorded of its arguments."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from jtask import task
from jtask.errors import TaskDefinitionError


@dataclass
class Card:
    number: str


def plain(user: str, password: "str | None" = None, *codes: int) -> None: ...
def lists(tags: Sequence[str], sizes: tuple[float, ...], way: Literal["a"] = "a") -> None: ...
def untyped(order) -> None: ...  # type: ignore[no-untyped-def] # pyright: ignore
def typed(order: int, card: Card) -> None: ...
def nested(cards: Annotated[list[dict[str, Any]], "cards"]) -> None: ...
def named(**others: int) -> None: ...


@pytest.mark.parametrize("function", [plain, lists])
def test_a_name_of_nothing_that_can_be_there_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(TaskDefinitionError, match="'card' is no parameter of the task, and no key"):
        task(redact=["card"])(function)


def test_a_misspelt_parameter_is_told_its_name() -> None:
    with pytest.raises(TaskDefinitionError, match=r"'redact': 'pasword' .* mean 'password'"):
        task(redact=["user", "pasword"])(plain)
    with pytest.raises(TaskDefinitionError, match=r"its parameters are: user, password, codes$"):
        task(plain).with_options(redact=["zzz"])


@pytest.mark.parametrize("function", [untyped, typed, nested, named])
def test_a_name_may_be_that_of_a_key_where_keys_can_be(function: Callable[..., Any]) -> None:
    assert task(redact=["number"], key="keys")(function).options["redact"] == ("number",)


def test_parameters_can_be_named_whatever_they_hold() -> None:
    task(redact=["user", "codes"])(plain)
    task(redact=[])(plain)
