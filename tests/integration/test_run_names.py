"""Runs have names of their own: made once of the arguments, and shown wherever a run is."""

import asyncio
import datetime
import logging
from dataclasses import dataclass
from typing import Any

import pytest
from in_process import StartWorker, events_of, on_each_broker
from waiting import eventually

from jtask import flow, runtime, task
from jtask.errors import RunFailed, TaskDefinitionError

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


@dataclass
class User:
    email: str


calls: list[dict[str, Any]] = []


def by_parameters(parameters: dict[str, Any]) -> str:
    calls.append(parameters)
    return f"{parameters['number']}, try {len(calls)}"


@task(task_run_name="{user.email} on {day:%A}, {greeting}")
def greet(user: User, day: datetime.date, greeting: str = "hello") -> str:
    return runtime.name


@task(task_run_name=by_parameters, retries=1)
async def retried(number: int) -> str:
    await asyncio.sleep(0)
    if runtime.attempt == 1:
        raise ValueError("not yet")
    return runtime.name


ANN, DAY = User("ann@x.org"), datetime.date(2026, 11, 30)


def test_a_template_takes_defaults_attributes_and_forms() -> None:
    assert greet(ANN, DAY) == "ann@x.org on Monday, hello"


def test_a_run_in_the_background_is_named_when_it_starts(jtask_worker: StartWorker) -> None:
    jtask_worker(greet)
    run = greet.delay(ANN, DAY, greeting="hi")
    assert run.result(timeout=30) == "ann@x.org on Monday, hi"
    assert run.info is not None
    assert run.info.run_name == "ann@x.org on Monday, hi"

    def is_said() -> bool:
        return "ann@x.org on Monday, hi" in {event.run_name for event in events_of(run.run_id)}

    eventually(is_said)


def test_a_run_that_waits_for_others_is_named_by_their_values(jtask_worker: StartWorker) -> None:
    @task(task_run_name="number {number}")
    def named(number: int) -> str:
        return runtime.name

    @task
    def three() -> int:
        return 3

    jtask_worker(named, three)
    upstream = three.submit().as_value
    assert named(upstream) == "number 3"
    assert named.submit(upstream).result(timeout=30) == "number 3"
    assert named.delay(three.delay().as_value).result(timeout=30) == "number 3"


def test_a_function_is_called_once_for_all_attempts_of_a_run(jtask_worker: StartWorker) -> None:
    jtask_worker(retried)
    calls.clear()
    assert retried.delay(7).result(timeout=30) == "7, try 1"
    assert calls == [{"number": 7}]
    assert asyncio.run(retried(8)) == "8, try 2"


def test_a_function_may_ask_the_runtime_of_the_run_that_it_names(
    jtask_worker: StartWorker,
) -> None:
    def by_runtime() -> str:
        run = runtime.task_run
        return f"{runtime.flow_run.flow_name}/{run.task_name} {run.parameters['day']}"

    @task(task_run_name=by_runtime)
    def report(day: str) -> str:
        return runtime.name

    @flow
    def week(day: str) -> list[str]:
        return [report(day), report.submit(day).result(), report.delay(day).result(timeout=30)]

    jtask_worker(report)
    assert week("Monday") == ["week/report Monday"] * 3


def test_a_method_has_its_object_in_the_template() -> None:
    class Shop:
        name = "corner"

        @task(task_run_name="{self.name} sells {what}")
        def sell(self, what: str) -> str:
            return runtime.name

    assert Shop().sell("tea") == "corner sells tea"


def test_a_copy_takes_its_name_to_the_worker(jtask_worker: StartWorker) -> None:
    jtask_worker(greet)
    named = greet.with_options(task_run_name="once for {user.email}")
    assert named.delay(ANN, DAY).result(timeout=30) == "once for ann@x.org"


def test_runs_without_the_option_have_the_name_of_their_task() -> None:
    @task
    def plain() -> tuple[str | None, str | None]:
        return runtime.name, runtime.task_run.name

    assert plain() == ("plain", "plain")


def test_lines_about_a_run_have_its_name(
    jtask_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    jtask_worker(greet)
    run = greet.delay(ANN, DAY)
    run.result(timeout=30)
    wanted = f"{run.run_id} (ann@x.org on Monday, hello) Completed"
    eventually(lambda: wanted in caplog.text)


def returns_a_number() -> str:
    return 3  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def fails() -> str:
    raise KeyError("x")


@pytest.mark.parametrize(
    ("naming", "said"),
    [
        ("{a.b}", "'{a.b}' cannot be filled in: AttributeError"),
        (returns_a_number, "must return a text, and returned 3"),
        (fails, "failed: KeyError: 'x'"),
    ],
)
def test_a_name_that_cannot_be_made_fails_the_run(naming: Any, said: str) -> None:
    executed: list[int] = []

    @task(task_run_name=naming)
    def work(a: int) -> None:
        executed.append(a)

    with pytest.raises((ValueError, TypeError), match="task_run_name") as raised:
        work(1)
    assert said in str(raised.value)
    assert not executed


def test_the_run_of_a_worker_fails_for_its_name(jtask_worker: StartWorker) -> None:
    @task(task_run_name="{a.nobody}")
    def unnamed(a: int) -> None: ...

    jtask_worker(unnamed)
    run = unnamed.delay(1)
    with pytest.raises((ValueError, RunFailed), match="cannot be filled in"):
        run.result(timeout=30)
    assert run.state.message.startswith("the run cannot be named: ValueError: task_run_name")


@pytest.mark.parametrize("naming", [3, "", lambda a, b: "x", "{a", "{a.__class__}"])
def test_what_makes_no_name_is_refused_at_the_definition(naming: Any) -> None:
    with pytest.raises(TaskDefinitionError, match="task_run_name"):

        @task(task_run_name=naming)
        def work() -> None: ...
