"""Tags of the surroundings, and the run of the context."""

import asyncio
import contextvars
import json
from typing import Any

import pytest

from jtask import runtime, tags, task
from jtask.errors import TaskDefinitionError
from jtask.execution.copies import copy_of, facts_of
from jtask.runs import Run
from jtask.runtime import RunContext, current_run, executing
from jtask.tagging import tags_of_run


@task
def work() -> None: ...


@task
def greet(name: str, greeting: str = "hello") -> None: ...


def new_run(run_id: str) -> RunContext:
    return RunContext(run_id, work, created_at=0.0)


def test_the_executing_run_is_the_current_one_inside_the_block_only() -> None:
    outer, inner = new_run("outer"), new_run("inner")
    with executing(outer):
        with executing(inner):
            assert current_run() is inner
        assert current_run() is outer
    assert current_run() is None


def test_a_run_has_its_id_and_its_attempt_under_prefects_names_too() -> None:
    run = RunContext("r", work, created_at=0.0, attempt=3)
    with executing(run):
        known = runtime.task_run
        assert (run.id, run.run_count, run.name) == (known.id, known.run_count, known.name)
        assert (run.id, run.run_count) == ("r", 3)


def test_the_current_run_is_given_back_when_the_block_fails() -> None:
    with pytest.raises(ValueError, match="no"), executing(new_run("x")):
        raise ValueError("no")
    assert current_run() is None


def test_a_copied_context_keeps_its_run() -> None:
    with executing(new_run("kept")):
        context = contextvars.copy_context()
    found = context.run(current_run)
    assert found is not None
    assert found.run_id == "kept"


def test_tags_nest_without_doubles_and_end_with_the_block() -> None:
    with tags("a", "a", "b") as outer:
        assert outer == ("a", "b") == tags_of_run(())
        with tags("b", "c"):
            assert tags_of_run(()) == ("a", "b", "c")
        assert tags_of_run(()) == ("a", "b")
    assert tags_of_run(()) == ()


@pytest.mark.parametrize("wrong", [["a"], 5, None])
def test_a_tag_is_a_string(wrong: Any) -> None:
    with pytest.raises(TypeError, match="tags are strings"), tags("a", wrong):
        pass
    with pytest.raises(TaskDefinitionError, match="tags must be strings"):
        task(tags=["a", wrong])


def test_tags_of_one_coroutine_are_not_those_of_another() -> None:
    async def tagged(name: str) -> tuple[str, ...]:
        with tags(name):
            await asyncio.sleep(0)
            return tags_of_run(())

    async def main() -> list[tuple[str, ...]]:
        return await asyncio.gather(tagged("a"), tagged("b"))

    assert asyncio.run(main()) == [("a",), ("b",)]


def test_the_module_declares_what_a_task_may_ask_of_its_run() -> None:
    # What hooks set and the engine calls is not for tasks.
    for_hooks = {
        "abandon",
        "attempt_ended_at",
        "blocking",
        "caller",
        "concerns",
        "emit",
        "is_abandoned",
        "is_copy",
        "is_handed_back",
        "is_streamed",
        "is_submitted",
        "lines_attempt",
        "submitted_in",
        "notes",
        "on_cancel",
        "on_state",
        "on_wait",
        "step",
        "submitter",
        "token",
        "trace_id",
        "waited_for",
    }
    facts = (
        {*RunContext.__dataclass_fields__, "task_name", "name", "parameters"}
        - for_hooks
        - {"admission"}
    )
    assert set(runtime.__annotations__) == facts
    assert facts < set(dir(runtime))
    with executing(new_run("x")):
        assert (runtime.run_id, runtime.attempt, runtime.cancelled) == ("x", 1, None)
    assert runtime.attempt is None


def test_task_run_has_the_facts_of_the_run_under_prefects_names() -> None:
    run = RunContext("x", greet, created_at=0.0, attempt=3, tags=("a",), args=("Ann",))
    with executing(run):
        it = runtime.task_run
        assert (it.id, it.name, it.task_name) == ("x", "greet", "greet")
        assert (it.tags, it.run_count, it.cancelled) == (["a"], 3, None)
        assert it.parameters == {"name": "Ann", "greeting": "hello"}
        assert repr(it) == "<task run x 'greet'>"


def test_task_run_and_flow_run_are_empty_outside_of_a_run() -> None:
    it = runtime.task_run
    assert (it.id, it.name, it.task_name, it.cancelled) == (None, None, None, None)
    assert (it.tags, it.parameters, it.run_count) == ([], {}, 0)
    flow = runtime.flow_run
    assert (flow.id, flow.name, flow.flow_name) == (None, None, None)
    assert (flow.tags, flow.parameters, flow.run_count) == ([], {}, 0)


def test_a_console_completes_no_names_that_only_jtask_uses() -> None:
    of_task = [name for name in dir(work) if not name.startswith("__")]
    of_run = [name for name in dir(Run("x", None)) if not name.startswith("__")]  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert not [name for name in of_task + of_run if name.startswith("_")]
    assert {"delay", "with_options", "name", "options"} < set(of_task)
    assert not {"bound", "definition", "hooks", "owner"} & set(of_task)
    assert {"result", "state", "cancel", "run_id"} < set(of_run)
    assert not {"resolve", "follow", "when_over", "fail_waiters"} & set(of_run)


def test_a_run_in_another_process_says_what_the_runtime_has_names_for() -> None:
    @task
    def copied(a: int, b: int = 2) -> None: ...

    run = RunContext(
        "r",
        copied,
        1.0,
        attempt=2,
        tags=("a", "b"),
        parent_id="p",
        root_id="q",
        queue="mail",
        worker="w",
        headers={"x": "y"},
        scheduled_for=3.0,
        started_at=4.0,
        run_time=5.0,
        attempt_started_at=6.0,
        lost_workers=7,
        version="8",
        args=(9,),
        kwargs={"b": 10},
    )
    copy = copy_of(json.loads(json.dumps(facts_of(run))), copied, run.args, run.kwargs)
    of_this_process = {"history", "cancelled", "state", "error"}
    names = set(runtime.__annotations__) - of_this_process
    assert {n: getattr(copy, n) for n in names} == {n: getattr(run, n) for n in names}
