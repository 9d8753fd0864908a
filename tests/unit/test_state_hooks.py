"""The state hooks plugin: which functions are called when, in which order, and how isolated."""

import asyncio
import logging
import threading
from typing import Any

import pytest
from direct_calls import both, call_plain

from jtask import Task, runtime, task
from jtask.errors import RunCancelled, RunNotReady, RunTimedOut, TaskDefinitionError
from jtask.execution.run_options import with_carried
from jtask.hooks import hookimpl
from jtask.outcomes import Outcome
from jtask.plugins import hooks_of
from jtask.states import State, StateName
from jtask_state_hooks.options import STATES

OPTIONS = list(STATES)


class Log:
    """Hooks for every option that write down what they are called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.states: list[State] = []
        self.runs: set[str] = set()

    def hook(self, option: str, label: str = "") -> Any:
        def write(task: Any, run: Any, state: Any) -> None:
            assert run.state is state
            assert task is run.task
            assert runtime.run_id == run.run_id
            self.calls.append((label or option, state.name.value))
            self.states.append(state)
            self.runs.add(run.run_id)

        return write

    def async_hook(self, option: str, label: str = "") -> Any:
        write = self.hook(option, label)

        async def write_later(task: Any, run: Any, state: Any) -> None:
            await asyncio.sleep(0)
            write(task, run, state)

        return write_later

    def options(self) -> dict[str, Any]:
        return {option: [self.hook(option)] for option in OPTIONS}


def raises(error: BaseException) -> Any:
    def body() -> None:
        raise error

    return body


@both
def test_a_run_that_completes_calls_on_running_and_on_completion(call: Any) -> None:
    log = Log()
    assert call(lambda: 7, **log.options()) == 7
    assert log.calls == [("on_running", "Running"), ("on_completion", "Completed")]
    assert log.states[-1].result() == 7
    assert len(log.runs) == 1


@both
@pytest.mark.parametrize(
    ("error", "option", "state"),
    [
        (ValueError("boom"), "on_failure", "Failed"),
        (RunTimedOut("late"), "on_failure", "TimedOut"),
        (SystemExit(3), "on_crashed", "Crashed"),
        (RunCancelled("no"), "on_cancellation", "Cancelled"),
    ],
)
def test_each_end_has_its_hook(call: Any, error: BaseException, option: str, state: str) -> None:
    log = Log()
    with pytest.raises(type(error)):
        call(raises(error), **log.options())
    assert log.calls == [("on_running", "Running"), (option, state)]
    with pytest.raises(type(error)):
        log.states[-1].result()
    assert log.states[-1].result(raise_on_failure=False) is error


@both
def test_a_run_that_is_not_ready_calls_no_hook(call: Any, jtask_plugin: Any) -> None:
    class Wait:
        @hookimpl
        def jtask_lookup(self) -> Outcome:
            return Outcome(State(StateName.NOT_READY, 0.0, "the other one failed"))

    jtask_plugin(Wait())
    log = Log()
    with pytest.raises(RunNotReady):
        call(lambda: 7, **log.options())
    assert log.calls == []


@both
def test_retries_call_on_retry_and_only_the_last_failure_calls_on_failure(call: Any) -> None:
    log = Log()
    with pytest.raises(ValueError, match="boom"):
        call(raises(ValueError("boom")), retries=2, **log.options())
    retried = [("on_retry", "AwaitingRetry"), ("on_running", "Retrying")]
    first, last = ("on_running", "Running"), ("on_failure", "Failed")
    assert log.calls == [first, *retried, *retried, last]


def test_a_cached_value_is_a_completion(jtask_plugin: Any) -> None:
    class Recall:
        @hookimpl
        def jtask_lookup(self) -> Outcome:
            return Outcome(State(StateName.CACHED, 0.0), 42)

    jtask_plugin(Recall())
    log = Log()
    assert call_plain(lambda: 7, **log.options()) == 42
    assert log.calls == [("on_completion", "Cached")]
    assert log.states[0].result() == 42


@both
def test_hooks_are_called_in_order_plain_and_asynchronous_ones_mixed(call: Any) -> None:
    log = Log()
    hooks = [log.hook("", "1"), log.async_hook("", "2"), log.hook("", "3"), log.async_hook("", "4")]
    call(lambda: 7, on_completion=hooks)
    assert [label for label, _ in log.calls] == ["1", "2", "3", "4"]


def test_hooks_of_a_plain_task_run_in_its_thread_even_inside_a_running_loop() -> None:
    log, threads = Log(), set[str]()

    def note(task: Any, run: Any, state: Any) -> None:
        threads.add(threading.current_thread().name)

    async def main() -> int:
        result: int = call_plain(lambda: 7, on_completion=[note, log.async_hook("", "async")])
        return result

    assert asyncio.run(main()) == 7
    assert threads == {threading.current_thread().name}
    assert [label for label, _ in log.calls] == ["async"]


def test_hooks_of_an_asynchronous_task_run_on_its_loop() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    def note(task: Any, run: Any, state: Any) -> None:
        loops.append(asyncio.get_running_loop())

    async def note_later(task: Any, run: Any, state: Any) -> None:
        await asyncio.sleep(0)
        note(task, run, state)

    @task(on_running=[note_later], on_completion=[note, note_later])
    async def work() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert loops == [asyncio.run(work())] * 3


def fail(task: Any, run: Any, state: Any) -> None:
    raise LookupError("broken hook")


async def fail_later(task: Any, run: Any, state: Any) -> None:
    raise LookupError("broken hook")


@both
@pytest.mark.parametrize("broken", [fail, fail_later])
def test_a_hook_that_fails_is_logged_and_changes_nothing(
    call: Any, broken: Any, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log()
    hooks = [log.hook("", "before"), broken, log.hook("", "after")]
    with caplog.at_level(logging.ERROR, "jtask"):
        assert call(lambda: 7, on_running=hooks, on_completion=hooks) == 7
    assert [label for label, _ in log.calls] == ["before", "after"] * 2
    messages = [record.getMessage() for record in caplog.records]
    assert [message.partition(" of task")[0] for message in messages] == [
        f"the on_running hook {broken.__name__}",
        f"the on_completion hook {broken.__name__}",
    ]
    assert messages[1].endswith("stays Completed")
    assert all(record.exc_info for record in caplog.records)


def test_ctrl_c_in_a_hook_of_a_direct_call_gets_through() -> None:
    def interrupt(task: Any, run: Any, state: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_plain(lambda: 7, on_completion=[interrupt])


# --- declaring -----------------------------------------------------------------------------------


@pytest.mark.parametrize("option", OPTIONS)
def test_a_decorator_adds_to_the_option_of_its_name_and_gives_the_function_back(
    option: str,
) -> None:
    log = Log()
    first, second = log.hook(option, "first"), log.hook(option, "second")

    @task(**{option: [first]})
    def work() -> None: ...

    work_before = work.with_options(name="copy")
    assert getattr(work, option)(second) is second
    assert work.options[option] == (first, second)
    assert work_before.options[option] == (first,)
    assert work.with_options(name="later").options[option] == (first, second)


def test_a_decorator_counts_for_a_task_that_was_used_already() -> None:
    log = Log()

    @task
    def work() -> None: ...

    work()

    @work.on_completion
    def note(task: Any, run: Any, state: Any) -> None:
        log.hook("note")(task, run, state)

    work()
    assert log.calls == [("note", "Completed")]


def test_a_decorator_on_a_bound_method_counts_for_the_task() -> None:
    log = Log()

    class Shop:
        @task
        def sell(self) -> None: ...

    Shop().sell.on_completion(log.hook("sold"))
    Shop().sell()
    assert log.calls == [("sold", "Completed")]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([print, 3], "hook 3 of type int cannot be called"),
        (["print"], "hook 'print' of type str cannot be called"),
        ([lambda run: None], "<lambda>(run) cannot be called with (task, run, state)"),
        (3, "must be a list of functions, got 3 of type int"),
    ],
)
def test_what_is_no_hook_is_refused_at_the_definition(
    option: str, value: Any, sentence: str
) -> None:
    with pytest.raises(TaskDefinitionError) as raised:
        call_plain(lambda: 7, **{option: value})
    assert str(raised.value) == f"task 'work', option '{option}': {sentence}"


def test_a_function_that_is_not_in_a_list_is_told_how() -> None:
    with pytest.raises(TaskDefinitionError, match=r"type builtin_function_or_method: write on_run"):
        call_plain(lambda: 7, on_running=print)


def test_a_decorator_refuses_what_cannot_be_called_and_keeps_the_rest() -> None:
    log = Log()

    @task(on_failure=[log.hook("x")])
    def work() -> None: ...

    wrong: Any = "print"
    with pytest.raises(TaskDefinitionError, match="hook 'print' of type str"):
        work.on_failure(wrong)
    hooks: Any = work.options["on_failure"]
    assert len(hooks) == 1
    assert work() is None


@pytest.mark.usefixtures("jtask_memory")
def test_a_hook_that_is_added_counts_for_runs_that_are_sent_from_then_on(
    jtask_plugin: Any,
) -> None:
    sent: list[str] = []

    class OfHookedTasks:
        @hookimpl
        def jtask_applies(self, task: Task[..., Any]) -> bool:
            return bool(task.options.get("on_failure"))

        @hookimpl
        def jtask_enqueue(self, request: Any) -> None:
            sent.append(request.run_id)

    jtask_plugin(OfHookedTasks())

    @task
    def work() -> None: ...

    work.delay()
    work.on_failure(print)
    assert sent == []
    assert [work.delay().run_id] == sent


def test_a_hook_that_is_added_counts_for_runs_with_options_of_their_own() -> None:
    @task
    def work() -> None: ...

    carried = {"retries": 1}
    assert not hooks_of(with_carried(work, carried)).state
    work.on_failure(print)
    assert hooks_of(with_carried(work, carried)).state


def test_a_task_without_hooks_is_spared_the_plugin() -> None:
    @task
    def plain() -> None: ...

    @task(on_failure=[])
    def empty() -> None: ...

    @task(on_failure=[print])
    def hooked() -> None: ...

    def has_state_hook(work: Task[..., Any]) -> bool:
        return bool(work.hooks.state)

    assert [has_state_hook(work) for work in (plain, empty, hooked)] == [False, False, True]
