"""What plugins make of a run that has completed, and runs into which plugins are drawn."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from direct_calls import both

from jtask import runtime, task
from jtask.execution import direct_call
from jtask.execution.attempt import run_attempt
from jtask.execution.sync_await import run_sync
from jtask.hooks import hookimpl
from jtask.lifecycle import PutOff, RollBack
from jtask.outcomes import Outcome
from jtask.plugins import TaskHooks, hooks_of
from jtask.runtime import RunContext, call_headers, current_run
from jtask.states import StateName

AddPlugin = Callable[[object], None]


class Decides:
    """Answers as it is told to, and writes down what comes of it."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.log: list[str] = []

    @hookimpl
    def jtask_completed(self, run: Any, outcome: Any) -> Any:
        self.log.append(f"completed {outcome.value}")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    @hookimpl
    def jtask_state(self, run: Any, state: Any) -> None:
        self.log.append(state.name.value)

    @hookimpl
    async def jtask_settled(self, run: Any, outcome: Any) -> None:
        self.log.append(f"settled {outcome.state.name.value} {outcome.state.message}".strip())


BEGIN = ["Pending", "Running", "Completed", "completed 7"]


@both
def test_a_completed_run_stands_unless_a_plugin_objects(call: Any, jtask_plugin: AddPlugin) -> None:
    plugin = Decides()
    jtask_plugin(plugin)
    assert call(lambda: 7) == 7
    assert plugin.log == [*BEGIN, "settled Completed"]


@both
def test_a_plugin_moves_it_to_rolled_back_with_its_value(
    call: Any, jtask_plugin: AddPlugin
) -> None:
    plugin = Decides(RollBack("too much"))
    jtask_plugin(plugin)
    assert call(lambda: 7) == 7
    assert plugin.log == [*BEGIN, "RolledBack", "settled RolledBack too much"]


@both
def test_a_plugin_that_fails_lets_it_stand(call: Any, jtask_plugin: AddPlugin) -> None:
    plugin = Decides(ValueError("no"))
    jtask_plugin(plugin)
    assert call(lambda: 7) == 7
    assert plugin.log == [*BEGIN, "settled Completed"]


@pytest.mark.parametrize(
    ("message", "end"),
    [
        (None, ["settled Completed"]),
        ("undone", ["RolledBack", "settled RolledBack undone"]),
    ],
)
@both
def test_the_end_of_a_direct_call_is_told_and_recorded_when_the_plugin_says_so(
    call: Any,
    message: str | None,
    end: list[str],
    jtask_plugin: AddPlugin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored: list[str] = []
    monkeypatch.setattr(
        direct_call, "_store", lambda run, outcome: stored.append(outcome.state.name.value)
    )
    plugin = Decides(PutOff())
    jtask_plugin(plugin)
    assert call(lambda: 7) == 7
    assert (plugin.log, stored) == (BEGIN, [])
    asyncio.run(plugin.answer.settle(message))
    assert plugin.log == [*BEGIN, *end]
    assert stored == [end[0].removeprefix("settled ")]


@both
def test_a_plugin_may_settle_it_as_soon_as_it_begins(
    call: Any, jtask_plugin: AddPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[str] = []
    monkeypatch.setattr(
        direct_call, "_store", lambda run, outcome: stored.append(outcome.state.name.value)
    )

    async def begin() -> None:
        await plugin.answer.settle("at once")

    plugin = Decides(PutOff(begin))
    jtask_plugin(plugin)
    assert call(lambda: 7) == 7
    assert plugin.log == [*BEGIN, "RolledBack", "settled RolledBack at once"]
    assert stored == ["RolledBack"]


def test_a_run_of_a_worker_is_settled_although_a_plugin_puts_it_off(
    jtask_plugin: AddPlugin,
) -> None:
    plugin = Decides(PutOff())
    jtask_plugin(plugin)

    @task
    def work() -> int:
        return 7

    run = RunContext("an-id", work, 0.0, queue="q", blocking=True)
    run.enter(StateName.PENDING)
    outcome = run_sync(run_attempt(run, hooks_of(work)))
    assert isinstance(outcome, Outcome)
    assert not outcome.is_open
    assert plugin.log[-1] == "settled Completed"


class OnRequest(Decides):
    """Has nothing to do with any task."""

    @hookimpl
    def jtask_applies(self) -> bool:
        return False

    @hookimpl
    def jtask_headers(self) -> list[str]:
        return ["on-request"]

    @hookimpl
    def jtask_attempt_over(self, run: Any, end: Any) -> None:
        self.log.append(f"over {end}")


@both
def test_a_plugin_is_drawn_into_a_run_for_the_rest_of_it(
    call: Any, jtask_plugin: AddPlugin
) -> None:
    plugin = OnRequest()
    jtask_plugin(plugin)

    def draw_in() -> int:
        run = current_run()
        assert run is not None
        run.concern("on-request")
        run.concern("on-request")
        return 7

    assert call(lambda: 7) == 7
    assert plugin.log == []
    assert call(draw_in) == 7
    assert plugin.log == ["Completed", "completed 7", "settled Completed", "over settled"]


@both
def test_it_hears_of_the_end_of_an_attempt_that_fails(call: Any, jtask_plugin: AddPlugin) -> None:
    plugin, tries = OnRequest(), iter([True, False])
    jtask_plugin(plugin)

    def draw_in() -> int:
        run = current_run()
        assert run is not None
        run.concern("on-request")
        if next(tries):
            raise ValueError("once more")
        return 7

    assert call(draw_in, retries=1) == 7
    assert plugin.log == [
        "over retried",
        "Retrying",
        "Completed",
        "completed 7",
        "settled Completed",
        "over settled",
    ]


@both
def test_a_direct_call_carries_the_headers_of_its_context(
    call: Any, jtask_plugin: AddPlugin
) -> None:
    plugin = OnRequest()
    jtask_plugin(plugin)
    token = call_headers.set({"on-request": "yes"})
    try:
        assert call(lambda: dict(runtime.headers)) == {"on-request": "yes"}
    finally:
        call_headers.reset(token)
    assert plugin.log[:2] == ["Pending", "Running"]
    assert call(lambda: dict(runtime.headers)) == {}


def test_a_direct_call_knows_the_run_that_made_it_while_it_executes() -> None:
    found: list[RunContext | None] = []
    kept: list[RunContext] = []

    @task
    def inner() -> None:
        run = current_run()
        assert run is not None
        found.append(run.caller)
        kept.append(run)

    @task
    def outer() -> str:
        inner()
        return str(runtime.run_id)

    run_id = outer()
    assert found[0] is not None
    assert found[0].run_id == run_id
    assert kept[0].caller is None  # it is over, and keeps nothing alive
    inner()
    assert found[1] is None


def test_a_task_costs_no_call_of_a_hook_that_nobody_has_for_it() -> None:
    @task
    def work() -> None: ...

    hooks: TaskHooks = hooks_of(work)
    assert hooks.completed is None
