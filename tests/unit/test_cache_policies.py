"""Which runs have the same key."""

import dataclasses
import enum
import json
import math
import os
import subprocess
import sys
from collections import Counter, OrderedDict, deque
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pydantic
import pytest

from jtask import task
from jtask.cache_policies import (
    DEFAULT,
    FLOW_PARAMETERS,
    INPUTS,
    NO_CACHE,
    NONE,
    RUN_ID,
    TASK_SOURCE,
    CacheKeyFnPolicy,
    CachePolicy,
    IsolationLevel,
    task_input_hash,
)
from jtask.errors import TaskDefinitionError
from jtask.runtime import RunContext
from jtask.serialization.stable_hash import stable_hash


@task
def add(a: int, b: int = 2) -> int:
    return a + b


@task
def multiply(a: int, b: int = 2) -> int:
    return a * b


def run_of(
    *args: Any, task: Any = add, run_id: str = "r1", parent: str | None = None
) -> RunContext:
    return RunContext(run_id, task, 0.0, args=args, parent_id=parent)


def key(policy: CachePolicy, run: RunContext, **flow: Any) -> str | None:
    return policy.compute_key(run, run.parameters, flow)


def test_inputs_are_the_arguments_with_their_defaults() -> None:
    assert key(INPUTS, run_of(1)) == key(INPUTS, run_of(1, 2)) != key(INPUTS, run_of(2, 1))
    assert key(INPUTS, run_of(1)) == key(INPUTS, run_of(1, task=multiply, run_id="another"))


def test_an_input_can_be_left_out() -> None:
    without = INPUTS - "b"
    assert key(without, run_of(1, 5)) == key(without, run_of(1, 6)) != key(without, run_of(2, 5))
    assert key(without - "a", run_of(1)) is None
    both = INPUTS + TASK_SOURCE - "b"
    assert key(both, run_of(1, 5)) == key(both, run_of(1, 6)) != key(both, run_of(2, 5))


def test_only_what_looks_at_inputs_can_leave_one_out() -> None:
    for policy in (TASK_SOURCE, RUN_ID, TASK_SOURCE + RUN_ID):
        with pytest.raises(TypeError, match="none to leave out"):
            _ = policy - "a"


def test_only_policies_are_added_and_only_names_left_out() -> None:
    nothing: Any = ["a", "b"]
    for policy in (INPUTS, NO_CACHE, INPUTS + TASK_SOURCE):
        with pytest.raises(TypeError, match=r"to policies only, not \['a', 'b'\]"):
            _ = policy + nothing
    for policy in (INPUTS, INPUTS + TASK_SOURCE):
        with pytest.raises(TypeError, match=r"by its name, .* got \['a', 'b'\]"):
            _ = policy - nothing


def test_task_source_is_the_text_of_the_function() -> None:
    assert key(TASK_SOURCE, run_of(1)) == key(TASK_SOURCE, run_of(9))
    assert key(TASK_SOURCE, run_of(1)) != key(TASK_SOURCE, run_of(1, task=multiply))


def test_run_id_is_that_of_the_parent_if_there_is_one() -> None:
    assert key(RUN_ID, run_of(1, run_id="child", parent="parent")) == "parent"
    assert key(RUN_ID, run_of(1, run_id="alone")) == "alone"


def test_flow_parameters_count_where_there_is_a_flow() -> None:
    assert key(FLOW_PARAMETERS, run_of(1)) is None
    assert key(FLOW_PARAMETERS, run_of(1), day=1) != key(FLOW_PARAMETERS, run_of(1), day=2)


def test_default_is_inputs_source_and_run() -> None:
    base = key(DEFAULT, run_of(1))
    assert base == key(INPUTS + TASK_SOURCE + RUN_ID, run_of(1))
    others = [run_of(2), run_of(1, task=multiply), run_of(1, run_id="r2")]
    assert base not in [key(DEFAULT, other) for other in others]


def test_no_cache_has_no_key_and_adds_nothing() -> None:
    assert NONE is NO_CACHE
    assert key(NO_CACHE, run_of(1)) is None
    assert INPUTS + NO_CACHE is INPUTS
    assert NO_CACHE + INPUTS is INPUTS


def test_sums_are_flat_and_their_order_counts() -> None:
    run = run_of(1)
    left, right = (INPUTS + TASK_SOURCE) + RUN_ID, INPUTS + (TASK_SOURCE + RUN_ID)
    assert key(left, run) == key(right, run) != key(RUN_ID + TASK_SOURCE + INPUTS, run)


def test_a_level_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="'NONE': use READ_COMMITTED or SERIALIZABLE"):
        INPUTS.configure(isolation_level="NONE")


def test_levels_are_kept_and_do_not_mix() -> None:
    serial = INPUTS.configure(isolation_level="SERIALIZABLE")
    assert INPUTS.isolation_level is None
    assert serial.isolation_level is IsolationLevel.SERIALIZABLE
    assert (serial + TASK_SOURCE).isolation_level is IsolationLevel.SERIALIZABLE
    assert (serial - "b").isolation_level is IsolationLevel.SERIALIZABLE
    with pytest.raises(ValueError, match="two isolation levels"):
        _ = serial + TASK_SOURCE.configure(isolation_level="READ_COMMITTED")
    with pytest.raises(ValueError, match="NEVER"):
        INPUTS.configure(isolation_level="NEVER")


def test_a_function_and_a_subclass_make_keys() -> None:
    class ByParity(CachePolicy):
        def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **_: Any) -> str:
            return "even" if inputs["a"] % 2 == 0 else "odd"

    by_name = CacheKeyFnPolicy(lambda context, parameters: f"{context.task_name}{parameters['a']}")
    assert key(by_name, run_of(7)) == "add7"
    assert key(ByParity(), run_of(7)) == "odd"
    assert key(ByParity() + RUN_ID, run_of(7)) == key(ByParity() + RUN_ID, run_of(9))


def test_the_hash_of_task_code_and_arguments() -> None:
    run = run_of(1)
    assert task_input_hash(run, run.parameters) == task_input_hash(run_of(1), run.parameters)
    assert task_input_hash(run, {"a": 2}) != task_input_hash(run, {"a": 1})


# --- hashes --------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


class Model(pydantic.BaseModel):
    x: int
    tags: set[str] = set()


DIFFERENT = [
    None, True, 1, 1.0, "1", b"1", [1], (1,), {1}, frozenset({1}), deque([1]), {"1": 1}, {1: 1},
    OrderedDict({"1": 1}), Counter({"1": 1}), [], (), {}, "", 0, -0.0, math.inf,
    date(2026, 1, 1), datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), timedelta(1),
    Decimal("1.0"), Decimal("1.00"), UUID(int=1), Path("1"), 1j, range(1),
    Colour.RED, Colour.BLUE, Colour, Point, Point(1), Point(1, Point(1)), Model(x=1),
    Model(x=1, tags={"a"}), add.fn, [[1], 2], [1, [2]], {"a": [1]}, {"a": {"a": 1}},
]  # fmt: skip


def test_different_values_have_different_hashes() -> None:
    hashes = [stable_hash(value) for value in DIFFERENT]
    assert len(set(hashes)) == len(DIFFERENT)


def test_the_order_of_a_set_or_a_mapping_counts_for_nothing() -> None:
    forth, back = dict.fromkeys(range(50)), dict.fromkeys(reversed(range(50)))
    assert stable_hash(forth, set(forth)) == stable_hash(back, set(back))


@pytest.mark.parametrize(
    "value", [object(), lambda: 1, (yield_ for yield_ in ()), {"a": [object()]}]
)
def test_what_has_no_stable_form_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        stable_hash(value)


def test_what_contains_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="contains itself"):
        stable_hash(circle)


def test_a_hash_is_the_same_in_every_process() -> None:
    code = (
        "from jtask.serialization.stable_hash import stable_hash\n"
        "print(stable_hash({'b': {3, 1, 2}, 'a': ('x', 1.5, None, b'\\x00')}, frozenset('abc')))"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    here = stable_hash({"b": {3, 1, 2}, "a": ("x", 1.5, None, b"\x00")}, frozenset("abc"))
    assert hashes == {f"{here}\n"}


def test_the_hash_of_json_is_fixed() -> None:
    data = json.loads('{"a": [1, 2.5, "é", null, true], "b": {"c": {}}}')
    assert stable_hash(data) == ("c5690eaddd907a9f4bca5972e1c41331384a424e7a673fffd4f6953739f6ef33")


@pytest.mark.parametrize("lifetime", [0.5, 1e30, timedelta.max, "soon"])
def test_a_value_is_kept_for_a_time_that_every_broker_can_count(lifetime: Any) -> None:
    with pytest.raises(TaskDefinitionError, match=r"at least 1 s and at most 100 years.*leave it"):
        task(cache_policy=INPUTS, cache_expiration=lifetime)(lambda: None)
