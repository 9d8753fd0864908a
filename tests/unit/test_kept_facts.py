"""What follows from a task is worked out once, until what it follows from changes."""

import copy
from typing import Any

import pytest

from jtask import task
from jtask.declaration.kept_facts import kept_in_task
from jtask.declaration.task_info import TaskInfo
from jtask.serialization.results import pickled, unpickled

asked: list[str] = []


@kept_in_task
def fact_of(work: TaskInfo[..., Any]) -> str:
    asked.append(work.name)
    return f"about {work.name}"


def test_a_fact_is_worked_out_once_for_each_task() -> None:
    @task(name="one")
    def one() -> None: ...

    @task(name="other")
    def other() -> None: ...

    asked.clear()
    assert [fact_of(one), fact_of(other), fact_of(one)] == ["about one", "about other", "about one"]
    assert asked == ["one", "other"]


def test_a_copy_with_other_options_has_facts_of_its_own() -> None:
    @task(name="work")
    def work() -> None: ...

    assert fact_of(work) == "about work"
    assert fact_of(work.with_options(name="renamed")) == "about renamed"
    assert fact_of(work) == "about work"


def test_a_bound_method_shares_what_is_known_of_it_and_adds_nothing_to_it() -> None:
    class Owner:
        @task(name="method")
        def method(self) -> None: ...

    assert fact_of(Owner.method) == "about method"
    asked.clear()
    bound = Owner().method
    assert fact_of(bound) == "about method"
    assert not asked
    bound.kept.clear()
    assert fact_of(Owner.method) == "about method"
    assert not asked


def test_what_cannot_be_worked_out_is_tried_again_and_says_only_why() -> None:
    @kept_in_task
    def broken(work: TaskInfo[..., Any]) -> str:
        asked.append(work.name)
        raise ValueError("no such thing")

    @task(name="work")
    def work() -> None: ...

    asked.clear()
    for _ in range(2):
        with pytest.raises(ValueError, match="no such thing") as caught:
            broken(work)
        assert caught.value.__context__ is None
    assert asked == ["work", "work"]


def test_a_hook_that_is_added_later_makes_all_be_worked_out_anew() -> None:
    @task(name="hooked")
    def hooked() -> None: ...

    fact_of(hooked)
    asked.clear()
    hooked.on_failure(print)
    fact_of(hooked)
    assert asked == ["hooked"]


def test_a_task_that_was_used_is_pickled_and_copied_like_one_that_was_not() -> None:
    @task(name="local")
    def local(x: int) -> int:
        return x

    assert local.hooks is not None
    assert local.codecs.arguments.encode((1,), {}) == b'{"x":1}'
    for other in (unpickled(pickled(local), "the task"), copy.deepcopy(local)):
        assert other.codecs.arguments.encode((1,), {}) == b'{"x":1}'
        assert other(2) == 2
