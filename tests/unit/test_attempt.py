"""The engine: which hooks it calls, when, with which facts, and what their failures do."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from direct_calls import both, call_async, call_plain

from jtask import Task, runtime, task
from jtask.errors import (
    BrokerUnavailable,
    ResultError,
    RunCancelled,
    RunExpired,
    RunFailed,
    RunNotReady,
    RunRefused,
    RunTimedOut,
)
from jtask.execution.attempt import run_attempt
from jtask.execution.sync_await import run_sync
from jtask.hook_callers import HookCaller
from jtask.hooks import TAGGED, hookimpl, only_in, only_with
from jtask.lifecycle import Release, Reschedule, Retry
from jtask.outcomes import Outcome
from jtask.plugins import Plugins, TaskHooks, get_plugins
from jtask.runtime import RunContext
from jtask.states import State, StateName

AddPlugin = Callable[[object], None]
Call = Callable[[Task[..., Any]], Any]


class Recorder:
    """A plugin that writes down each hook it is called with."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.states: list[StateName] = []
        self.outcome: Outcome | None = None

    @hookimpl
    def jtask_applies(self, task: Task[..., Any]) -> None:
        self.calls.append("applies")

    @hookimpl
    def jtask_lookup(self, run: RunContext) -> None:
        self.calls.append("lookup")

    @hookimpl
    def jtask_admit(self, run: RunContext) -> None:
        self.calls.append("admit")

    @hookimpl
    def jtask_around(self, run: RunContext) -> contextlib.AbstractContextManager[None]:
        @contextlib.contextmanager
        def around() -> Iterator[None]:
            self.calls.append("enter")
            try:
                yield
            finally:
                self.calls.append("leave")

        return around()

    @hookimpl
    def jtask_failed(self, run: RunContext, error: BaseException) -> None:
        self.calls.append(("failed", type(error).__name__))

    @hookimpl
    def jtask_state(self, run: RunContext, state: State) -> None:
        assert run.state is state
        self.calls.append(state.name.value)

    @hookimpl
    def jtask_settled(self, run: RunContext, outcome: Outcome) -> None:
        self.calls.append("settled")
        self.outcome = outcome


@both
def test_the_hooks_of_a_call_that_succeeds(call: Any, jtask_plugin: AddPlugin) -> None:
    recorder = Recorder()
    jtask_plugin(recorder)
    assert call(lambda: recorder.calls.append("body") or 7) == 7
    assert recorder.calls == [
        "applies",
        "Pending",
        "lookup",
        "admit",
        "Running",
        "enter",
        "body",
        "leave",
        "Completed",
        "settled",
    ]
    assert recorder.outcome is not None
    assert recorder.outcome.value == 7
    assert recorder.outcome.successful


@both
def test_the_hooks_of_a_call_that_fails(call: Any, jtask_plugin: AddPlugin) -> None:
    recorder = Recorder()
    jtask_plugin(recorder)
    with pytest.raises(ZeroDivisionError):
        call(lambda: 1 / 0)
    assert recorder.calls[4:] == [
        "Running",
        "enter",
        "leave",
        ("failed", "ZeroDivisionError"),
        "Failed",
        "settled",
    ]
    assert recorder.outcome is not None
    assert isinstance(recorder.outcome.error, ZeroDivisionError)


@both
@pytest.mark.parametrize("error", [RunExpired("late"), RunNotReady("not yet")])
def test_the_end_of_another_run_may_be_let_through(
    error: RunFailed, call: Any, jtask_plugin: AddPlugin
) -> None:
    recorder = Recorder()
    jtask_plugin(recorder)

    def wait_for_another() -> None:
        raise error

    with pytest.raises(type(error)):
        call(wait_for_another)
    assert recorder.outcome is not None
    assert recorder.outcome.error is error


@both
def test_a_crash_is_not_offered_for_a_retry(call: Any, jtask_plugin: AddPlugin) -> None:
    recorder = Recorder()
    jtask_plugin(recorder)

    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        call(leave)
    assert ("failed", "SystemExit") not in recorder.calls
    assert recorder.calls[-2:] == ["Crashed", "settled"]


def test_a_plugin_is_asked_once_per_task_whether_it_applies(jtask_plugin: AddPlugin) -> None:
    recorder = Recorder()
    jtask_plugin(recorder)

    @task
    def work() -> None: ...

    work()
    work()
    assert recorder.calls.count("applies") == 1
    assert recorder.calls.count("settled") == 2


def test_a_plugin_that_does_not_apply_is_spared_every_other_hook(jtask_plugin: AddPlugin) -> None:
    class Elsewhere(Recorder):
        @hookimpl
        def jtask_applies(self, task: Task[..., Any]) -> bool:
            return task.name != "work"

    plugin, other = Elsewhere(), Recorder()
    jtask_plugin(plugin)
    jtask_plugin(other)

    @task
    def work() -> None: ...

    @task
    def play() -> None: ...

    work()
    assert plugin.calls == []
    assert "settled" in other.calls
    play()
    assert "settled" in plugin.calls


def test_hooks_that_nobody_implements_cost_nothing() -> None:
    @task
    def work() -> None: ...

    hooks = TaskHooks(Plugins([]), work)
    assert implemented(hooks) == []


def test_only_the_implemented_hooks_are_called() -> None:
    class OneHook:
        @hookimpl
        def jtask_settled(self) -> None: ...

    @task
    def work() -> None: ...

    plugins = Plugins([])
    plugins.add(OneHook())
    hooks = TaskHooks(plugins, work)
    assert implemented(hooks) == ["settled"]


def test_a_header_concerns_the_plugin_that_names_it_whatever_it_says_of_the_task() -> None:
    class Marked:
        @hookimpl
        def jtask_headers(self) -> list[str]:
            return ["mark", "other-mark"]

        @hookimpl
        def jtask_applies(self) -> bool:
            return False

        @hookimpl
        def jtask_admit(self) -> None: ...

    class NotMarked:
        @hookimpl
        def jtask_applies(self) -> bool:
            return False

        @hookimpl
        def jtask_settled(self) -> None: ...

    @task
    def work() -> None: ...

    plugins = Plugins([])
    plugins.add(Marked())
    plugins.add(NotMarked())
    hooks = TaskHooks(plugins, work)
    assert implemented(hooks) == []
    assert hooks.concerning(["else"]) is hooks
    marked = hooks.concerning(["else", "mark"])
    assert implemented(marked) == ["admit"]
    assert hooks.concerning(["mark"]) is marked


def test_a_hook_for_runs_with_a_header_is_not_there_for_others() -> None:
    class Marks:
        @hookimpl
        def jtask_headers(self) -> list[str]:
            return ["mark", "other-mark"]

        @hookimpl
        @only_with("mark")
        def jtask_admit(self) -> None: ...

        @hookimpl
        def jtask_settled(self) -> None: ...

    @task
    def work() -> None: ...

    plugins = Plugins([])
    plugins.add(Marks())
    hooks = TaskHooks(plugins, work)
    assert implemented(hooks) == ["settled"]
    assert implemented(hooks.concerning(["other-mark"])) == ["settled"]
    assert implemented(hooks.concerning(["mark"])) == ["admit", "settled"]
    assert implemented(hooks.concerning(["mark"]).concerning(["other-mark"])) == [
        "admit",
        "settled",
    ]


def test_a_hook_for_some_states_is_called_in_no_other() -> None:
    class Watches:
        def __init__(self) -> None:
            self.seen: list[str] = []

        @hookimpl
        @only_in(StateName.RUNNING, StateName.FAILED)
        def jtask_state(self, state: State) -> None:
            self.seen.append(f"enters {state.name}")

        @hookimpl
        @only_in(StateName.FAILED)
        def jtask_settled(self, outcome: Outcome) -> None:
            self.seen.append(f"ended as {outcome.state.name}")

    def fail() -> None:
        raise ValueError("a stone")

    watches = Watches()
    get_plugins().add(watches)
    try:
        call_plain(lambda: 7)
        assert watches.seen == ["enters Running"]
        with pytest.raises(ValueError, match="a stone"):
            call_plain(fail)
    finally:
        get_plugins().remove(watches)
    assert watches.seen == ["enters Running", "enters Running", "enters Failed", "ended as Failed"]


def test_all_plugins_that_ask_for_runs_with_tags_concern_them() -> None:
    class Tagged:
        @hookimpl
        def jtask_applies(self) -> bool:
            return False

        @hookimpl
        def jtask_headers(self) -> list[str]:
            return [TAGGED]

        @hookimpl
        def jtask_admit(self) -> None: ...

    plugins = Plugins([])
    plugins.add(Tagged())
    plugins.add(Tagged())

    @task
    def work() -> None: ...

    hooks = TaskHooks(plugins, work)
    assert implemented(hooks) == []
    tagged = hooks.concerning([TAGGED])
    assert tagged.admit is not None
    assert len(tagged.admit.implementations) == 2


def implemented(hooks: TaskHooks) -> list[str]:
    names = [name for name in TaskHooks.__slots__ if not name.startswith("_")]
    found = {name: getattr(hooks, name) for name in names}
    return [name for name, one in found.items() if isinstance(one, HookCaller | dict) and one]


# --- failures of hooks ---------------------------------------------------------------------------


class Broken:
    """Fails in one hook, at once or while it is awaited."""

    def __init__(self, hook: str, *, late: bool) -> None:
        self.run_ids: list[str] = []

        def fail(run: Any) -> Any:
            self.run_ids.append(run.run_id)
            if late:
                return self._fail()
            raise RuntimeError("broken plugin")

        setattr(self, hook, hookimpl(fail))

    async def _fail(self) -> None:
        raise RuntimeError("broken plugin")


FAILING_HOOKS = pytest.mark.parametrize(
    "hook", ["jtask_lookup", "jtask_admit", "jtask_failed", "jtask_state", "jtask_settled"]
)
at_once_or_late = pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])


@both
@at_once_or_late
@FAILING_HOOKS
def test_a_failing_hook_is_logged_and_the_run_goes_on(
    hook: str, late: bool, call: Any, jtask_plugin: AddPlugin, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = Broken(hook, late=late)
    jtask_plugin(plugin)
    with caplog.at_level(logging.ERROR, "jtask"):
        assert call(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            call(lambda: 1 / 0)
    [record] = [r for r in caplog.records if f" failed in {hook}" in r.getMessage()]
    assert record.getMessage() == (
        f"plugin 'Broken' failed in {hook} for run {plugin.run_ids[0]} of task 'work': "
        f"RuntimeError: broken plugin"
    )
    assert record.exc_info
    assert "broken plugin" in str(record.exc_info[1])
    fields = vars(record)
    assert (fields["action"], fields["run_id"]) == ("hook_failed", plugin.run_ids[0])
    assert (fields["plugin"], fields["hook"], fields["task"]) == ("Broken", hook, "work")


class Reliable:
    """Answers one hook."""

    def __init__(self, hook: str, answer: Any) -> None:
        self.asked = 0

        def say(run: Any) -> Any:
            self.asked += 1
            return answer

        setattr(self, hook, hookimpl(say))


@both
@at_once_or_late
@pytest.mark.parametrize("fails", ["first", "last"])
@FAILING_HOOKS
def test_a_failing_plugin_keeps_no_other_from_being_asked(
    hook: str, fails: str, late: bool, call: Any, jtask_plugin: AddPlugin
) -> None:
    broken, others = Broken(hook, late=late), [Reliable(hook, None) for _ in range(2)]
    order = [*others, broken] if fails == "first" else [broken, *others]
    for plugin in order:
        jtask_plugin(plugin)
    with pytest.raises(ZeroDivisionError):
        call(lambda: 1 / 0)
    assert broken.run_ids
    assert [other.asked for other in others] == [len(broken.run_ids)] * 2


@both
@at_once_or_late
@pytest.mark.parametrize("fails", ["first", "last"])
@pytest.mark.parametrize("hook", ["jtask_lookup", "jtask_admit", "jtask_failed"])
def test_a_failing_plugin_does_not_take_away_the_answer_of_another(
    hook: str, fails: str, late: bool, call: Any, jtask_plugin: AddPlugin
) -> None:
    answers = {
        "jtask_lookup": Outcome(State(StateName.CACHED, 0.0), "answered"),
        "jtask_admit": Retry(0.0, "answered"),
        "jtask_failed": Retry(0.0, "answered"),
    }
    other, broken = Answer(hook, answers[hook]), Broken(hook, late=late)
    for plugin in [other, broken] if fails == "first" else [broken, other]:
        jtask_plugin(plugin)
    states: list[str] = []

    class Path:
        @hookimpl
        def jtask_state(self, state: State) -> None:
            states.append(state.name.value)

    jtask_plugin(Path())

    def body() -> int:
        if hook == "jtask_failed" and runtime.attempt == 1:
            raise ValueError
        return 7

    value = call(body)
    assert {
        "jtask_lookup": value == "answered" and states == ["Pending", "Cached"],
        "jtask_admit": value == 7 and "Scheduled" in states,
        "jtask_failed": value == 7 and "AwaitingRetry" in states,
    }[hook]


@both
@pytest.mark.parametrize("hook", ["jtask_lookup", "jtask_failed", "jtask_state", "jtask_settled"])
def test_a_refusal_is_one_only_where_a_hook_may_refuse(
    hook: str, call: Any, jtask_plugin: AddPlugin, caplog: pytest.LogCaptureFixture
) -> None:
    jtask_plugin(Answer(hook, RunRefused("not today")))
    with caplog.at_level(logging.ERROR, "jtask"), pytest.raises(ZeroDivisionError):
        call(lambda: 1 / 0)
    assert f"failed in {hook} " in caplog.text


@both
def test_a_hook_that_fails_in_every_run_leaves_one_traceback(
    call: Any, jtask_plugin: AddPlugin, caplog: pytest.LogCaptureFixture
) -> None:
    jtask_plugin(Broken("jtask_settled", late=False))
    with caplog.at_level(logging.ERROR, "jtask"):
        for _ in range(20):
            call(lambda: 7)
    assert len(caplog.records) == 1


@both
def test_what_a_wrapper_raises_counts_as_raised_by_the_function(
    call: Any, jtask_plugin: AddPlugin
) -> None:
    recorder = Recorder()

    class Limit:
        @hookimpl
        @contextlib.contextmanager
        def jtask_around(self) -> Iterator[None]:
            yield
            raise RunTimedOut("took too long")

    jtask_plugin(recorder)
    jtask_plugin(Limit())
    with pytest.raises(RunTimedOut, match="took too long"):
        call(lambda: 7)
    assert recorder.calls[-2:] == ["TimedOut", "settled"]


# --- hooks that may be awaited -------------------------------------------------------------------


class Awaited:
    """Answers every hook with an awaitable that really suspends."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.threads: set[str] = set()

    async def _note(self, what: str) -> None:
        await asyncio.sleep(0)
        self.calls.append(what)
        self.threads.add(threading.current_thread().name)

    @hookimpl
    def jtask_lookup(self, run: RunContext) -> Awaitable[None]:
        return self._note("lookup")

    @hookimpl
    def jtask_admit(self, run: RunContext) -> Awaitable[None]:
        return self._note("admit")

    @hookimpl
    def jtask_state(self, run: RunContext, state: State) -> Awaitable[None]:
        return self._note(state.name)

    @hookimpl
    def jtask_settled(self, run: RunContext) -> Awaitable[None]:
        return self._note("settled")


ALL = ["Pending", "lookup", "admit", "Running", "Completed", "settled"]


def test_awaitable_hooks_work_in_a_plain_direct_call(jtask_plugin: AddPlugin) -> None:
    plugin = Awaited()
    jtask_plugin(plugin)
    assert call_plain(lambda: 7) == 7
    assert plugin.calls == ALL
    assert plugin.threads == {"jtask-hooks"}


def test_awaitable_hooks_work_in_an_asynchronous_direct_call(jtask_plugin: AddPlugin) -> None:
    plugin = Awaited()
    jtask_plugin(plugin)
    assert call_async(lambda: 7) == 7
    assert plugin.calls == ALL
    assert plugin.threads == {"jtask-hooks"}


def test_awaitable_hooks_work_in_a_plain_call_on_a_running_loop(jtask_plugin: AddPlugin) -> None:
    plugin = Awaited()
    jtask_plugin(plugin)

    async def main() -> Any:
        return call_plain(lambda: 7)

    assert asyncio.run(main()) == 7
    assert plugin.calls == ALL


def test_awaitable_hooks_work_in_a_worker(
    jtask_plugin: AddPlugin, jtask_worker: Callable[..., Any]
) -> None:
    plugin = Awaited()
    jtask_plugin(plugin)

    @task
    def plain() -> int:
        return 7

    @task
    async def slow() -> int:
        return 8

    jtask_worker(plain, slow)
    for work, value in ((plain, 7), (slow, 8)):
        plugin.calls.clear()
        assert work.delay().result(20) == value
        assert plugin.calls == ALL


# --- answers -------------------------------------------------------------------------------------


class Answer:
    def __init__(self, hook: str, *answers: Any) -> None:
        self.asked = 0
        found = iter(answers)

        def answer(run: Any) -> Any:
            self.asked += 1
            said = next(found, None)
            if isinstance(said, BaseException):
                raise said
            return said

        setattr(self, hook, hookimpl(answer))


@both
def test_a_known_outcome_spares_the_call(call: Any, jtask_plugin: AddPlugin) -> None:
    recorder = Recorder()
    jtask_plugin(recorder)
    known = Outcome(State(StateName.CACHED, 0.0, "seen before"), 42)
    jtask_plugin(Answer("jtask_lookup", known))
    assert call(lambda: recorder.calls.append("body")) == 42
    assert recorder.calls == ["applies", "Pending", "lookup", "Cached", "settled"]
    assert recorder.outcome is known
    assert known.state.message == "seen before"


@both
def test_a_refused_run_is_cancelled_without_a_call(call: Any, jtask_plugin: AddPlugin) -> None:
    recorder = Recorder()
    jtask_plugin(recorder)
    jtask_plugin(Answer("jtask_admit", RunRefused("not today")))
    with pytest.raises(RunRefused, match="not today"):
        call(lambda: recorder.calls.append("body"))
    assert recorder.calls[-2:] == ["Cancelled", "settled"]
    assert "body" not in recorder.calls
    assert "Running" not in recorder.calls


@both
def test_a_direct_call_is_refused_while_nobody_knows_whether_it_may_start(
    call: Any, jtask_plugin: AddPlugin
) -> None:
    jtask_plugin(Answer("jtask_admit", BrokerUnavailable("no server answered")))
    with pytest.raises(RunRefused, match="cannot be known now: no server answered"):
        call(pytest.fail)


@both
def test_a_run_that_must_wait_is_asked_again_and_makes_one_attempt(
    call: Any, jtask_plugin: AddPlugin
) -> None:
    recorder = Recorder()
    jtask_plugin(recorder)
    gate = Answer("jtask_admit", Retry(time.time() + 0.02, "limit reached"), Retry(0.0))
    jtask_plugin(gate)
    assert call(lambda: runtime.attempt) == 1
    assert gate.asked == 3
    states = [c for c in recorder.calls if c in {*StateName}]
    waited = ["Pending", "Scheduled"] * 2
    assert states == [*waited, "Pending", "Running", "Completed"]


@both
def test_a_failed_attempt_is_tried_again_when_a_plugin_says_so(
    call: Any, jtask_plugin: AddPlugin
) -> None:
    recorder = Recorder()
    jtask_plugin(recorder)
    jtask_plugin(Answer("jtask_failed", Retry(time.time() + 0.02, "once more"), Retry(0.0)))
    seen: list[Any] = []

    def body() -> Any:
        seen.append((runtime.attempt, len(runtime.history), runtime.run_id))
        if len(seen) < 3:
            raise ValueError(len(seen))
        return "done"

    assert call(body) == "done"
    assert [(attempt, history) for attempt, history, _ in seen] == [(1, 0), (2, 1), (3, 2)]
    assert len({run_id for _, _, run_id in seen}) == 1
    states = [c for c in recorder.calls if c in {*StateName}]
    retried = ["AwaitingRetry", "Retrying"]
    assert states == ["Pending", "Running", *retried, *retried, "Completed"]


@both
def test_the_history_says_why_an_attempt_failed(call: Any, jtask_plugin: AddPlugin) -> None:
    jtask_plugin(Answer("jtask_failed", Retry(0.0, "once more")))

    def body() -> Any:
        if runtime.attempt == 1:
            raise ValueError
        return runtime.history

    (first,) = call(body)
    assert (first.number, first.reason) == (1, "once more")
    assert first.started <= first.ended <= time.time()


@both
def test_a_run_that_is_not_tried_again_raises_its_last_error(
    call: Any, jtask_plugin: AddPlugin
) -> None:
    jtask_plugin(Answer("jtask_failed", Retry(0.0)))
    with pytest.raises(ValueError, match="attempt 2"):
        call(lambda: (_ for _ in ()).throw(ValueError(f"attempt {runtime.attempt}")))


def test_the_first_answer_counts_and_all_are_asked(jtask_plugin: AddPlugin) -> None:
    early = Answer("jtask_lookup", Outcome(State(StateName.CACHED, 0.0), "registered first"))
    late = Answer("jtask_lookup", Outcome(State(StateName.CACHED, 0.0), "registered last"))
    jtask_plugin(early)
    jtask_plugin(late)
    assert call_plain(lambda: None) == "registered last"
    assert (early.asked, late.asked) == (1, 1)


# --- around --------------------------------------------------------------------------------------


class Wrapper:
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    @hookimpl
    @contextlib.contextmanager
    def jtask_around(self, run: RunContext) -> Iterator[None]:
        self.log.append(f"{self.name} in")
        assert runtime.current_run() is run
        yield
        self.log.append(f"{self.name} out")


class AsyncWrapper(Wrapper):
    @hookimpl
    @contextlib.asynccontextmanager
    async def jtask_around(self, run: RunContext) -> AsyncIterator[None]:  # type: ignore[override]
        await asyncio.sleep(0)
        self.log.append(f"{self.name} in")
        yield
        self.log.append(f"{self.name} out")


@both
def test_wrappers_nest_the_one_registered_last_innermost(
    call: Any, jtask_plugin: AddPlugin
) -> None:
    log: list[str] = []
    jtask_plugin(Wrapper("first", log))
    jtask_plugin(Wrapper("last", log))
    call(lambda: log.append("body"))
    assert log == ["first in", "last in", "body", "last out", "first out"]


def test_an_asynchronous_wrapper_wraps_an_asynchronous_task(jtask_plugin: AddPlugin) -> None:
    log: list[str] = []
    jtask_plugin(Wrapper("plain", log))
    jtask_plugin(AsyncWrapper("async", log))
    call_async(lambda: log.append("body"))
    assert log == ["plain in", "async in", "body", "async out", "plain out"]


# --- attempts by hand ----------------------------------------------------------------------------


def pending_run(work: Task[..., Any], **facts: Any) -> RunContext:
    run = RunContext("an-id", work, created_at=0.0, blocking=not work.is_async, **facts)
    run.enter(StateName.PENDING)
    return run


NO_HOOKS = Plugins([])


def test_a_value_that_cannot_be_stored_fails_the_run_and_is_not_retried() -> None:
    @task
    def work() -> int:
        return 7

    def refuse(value: Any) -> bytes:
        raise ValueError(f"cannot store {value}")

    plugins = Plugins([])
    plugins.add(Answer("jtask_failed", Retry(0.0)))
    outcome = run_sync(run_attempt(pending_run(work), TaskHooks(plugins, work), encode=refuse))
    assert outcome.state.name is StateName.FAILED
    assert isinstance(outcome.error, ResultError)
    assert str(outcome.error) == outcome.state.message == "cannot store 7"


def test_a_known_value_that_cannot_be_stored_does_not_spare_the_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @task
    def work() -> int:
        return 7

    def refuse_42(value: Any) -> bytes:
        if value == 42:
            raise ValueError(f"cannot store {value}")
        return b"stored"

    plugins = Plugins([])
    plugins.add(Answer("jtask_lookup", Outcome(State(StateName.CACHED, 0.0), 42)))
    outcome = run_sync(run_attempt(pending_run(work), TaskHooks(plugins, work), encode=refuse_42))
    assert outcome == Outcome(outcome.state, 7, None, b"stored")
    assert outcome.state.name is StateName.COMPLETED
    assert (
        "plugin 'Answer' failed in jtask_lookup for run an-id of task 'work': SerializationError: "
        "it knew a value that cannot be stored: ValueError: cannot store 42"
    ) in caplog.text


def test_the_time_that_an_attempt_took_adds_to_the_runs_own() -> None:
    @task
    def work() -> None:
        raise ValueError

    run = pending_run(work, run_time=100.0)
    run_sync(run_attempt(run, TaskHooks(NO_HOOKS, work)))
    assert 100.0 < run.run_time < 160.0


def test_a_worker_that_stops_hands_a_cancelled_run_back() -> None:
    @task
    async def work() -> None:
        raise asyncio.CancelledError

    async def main(*, stopping: bool) -> Any:
        hooks = TaskHooks(NO_HOOKS, work)
        return await run_attempt(pending_run(work), hooks, stopping=lambda: stopping)

    assert asyncio.run(main(stopping=True)) == Release()
    settled = asyncio.run(main(stopping=False))
    assert settled.state.name is StateName.CRASHED


def test_an_attempt_that_must_wait_gives_the_instant_and_is_no_new_attempt() -> None:
    @task
    def work() -> None: ...

    plugins = Plugins([])
    plugins.add(Answer("jtask_admit", Retry(55.0, "limit")))
    result = run_sync(run_attempt(pending_run(work), TaskHooks(plugins, work)))
    assert result == Reschedule(55.0, StateName.SCHEDULED, "limit", new_attempt=False)


def test_a_background_run_waits_while_nobody_knows_whether_it_may_start() -> None:
    @task
    def work() -> None: ...

    plugins, run = Plugins([]), pending_run(work)
    run.queue = "q"
    plugins.add(Answer("jtask_admit", BrokerUnavailable("no server answered")))
    result = run_sync(run_attempt(run, TaskHooks(plugins, work)))
    assert isinstance(result, Reschedule)
    assert result.at > time.time()
    assert result.message == "BrokerUnavailable: no server answered"
    assert not result.new_attempt


def test_what_would_suspend_a_plain_call_is_refused() -> None:
    async def suspend() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="suspended"):
        run_sync(suspend())


@pytest.mark.parametrize(
    ("error", "state"), [(RunCancelled("why"), "Cancelled"), (RunFailed("sub"), "Failed")]
)
def test_a_task_may_end_its_own_run(error: Exception, state: str) -> None:
    @task
    def work() -> None:
        raise error

    outcome = run_sync(run_attempt(pending_run(work), TaskHooks(NO_HOOKS, work)))
    assert outcome.state.name == state
    assert outcome.error is error


def test_the_process_loads_its_plugins_once() -> None:
    assert get_plugins() is get_plugins()
