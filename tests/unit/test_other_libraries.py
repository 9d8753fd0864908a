"""Names of other libraries are met with one sentence that tells the way here."""

import asyncio
import copy
import pickle
import re
from collections.abc import Mapping
from typing import Any, cast

import pytest
from click.testing import CliRunner

import jtask
from jtask import other_libraries, runtime, task
from jtask.cli.program import main
from jtask.declaration.definition import OWN_OPTIONS
from jtask.errors import ArgumentError, TaskDefinitionError
from jtask.futures import Future, FutureList
from jtask.plugins import get_plugins
from jtask.settings.complaints import unknown_variable
from jtask.task_worker import aserve, serve


@task(retries=2)
def add(a: int, b: int = 0) -> int:
    return a + b


@pytest.mark.parametrize(
    ("option", "way"),
    [
        ("link", "pass the run to what follows, as in after.delay(run)"),
        ("task_id", "use .with_options(idempotency_key=...).delay(...)"),
        ("time_limit", "use .with_options(timeout_seconds=...).delay(...)"),
        ("retries", "use .with_options(retries=...).delay(...)"),
        ("delay", "use .with_options(delay=...).delay(...)"),
        ("ignore_result", "each run has an outcome"),
        ("headers", "pass it as an argument"),
        ("countdwn", "did you mean 'countdown'?"),
        ("b", "arguments go into args and kwargs, as in .apply_async(kwargs={'b': ...})"),
        ("zzz", "it takes args, kwargs, countdown, eta, expires, queue, priority, wait_for"),
    ],
)
def test_a_call_with_an_option_that_it_does_not_take_is_told_where_it_belongs(
    option: str, way: str
) -> None:
    given: dict[str, Any] = {option: 1}
    with pytest.raises(
        TaskDefinitionError, match=re.escape(f"apply_async has no option {option!r}: {way}")
    ):
        add.apply_async((1,), **given)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("s", "pass runs as arguments, as in g.delay(f.delay(1))"),
        ("request", "jtask.runtime has it"),
        ("retry", "raise the error"),
        ("kiq", "use await a_task.adelay(...)"),
        ("retries", "use a_task.options['retries']"),
    ],
)
def test_an_attribute_of_other_tasks_is_told_what_stands_in_its_place(name: str, way: str) -> None:
    with pytest.raises(AttributeError, match=re.escape(f"a task has no {name!r}: {way}")):
        getattr(add, name)


def test_a_task_without_an_attribute_says_what_python_says() -> None:
    with pytest.raises(AttributeError, match="'SyncTask' object has no attribute 'zzz'"):
        _ = cast("Any", add).zzz
    assert not hasattr(add, "s")


def test_a_property_of_a_task_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise AttributeError("of something else")

    monkeypatch.setattr(type(add), "body", property(fail))
    with pytest.raises(AttributeError, match="of something else"):
        _ = add.body


def test_tasks_are_copied_and_pickled_as_before() -> None:
    assert pickle.loads(pickle.dumps(add)) is add
    assert copy.copy(add) is add


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("get", "use run.result(timeout=...)"),
        ("id", "use run.run_id"),
        ("ready", "use run.state.is_final()"),
        ("revoke", "use run.cancel()"),
    ],
)
def test_an_attribute_of_other_handles_is_told_what_stands_in_its_place(
    name: str, way: str
) -> None:
    handle: Future[int] = Future("0198c4")
    with pytest.raises(
        AttributeError, match=re.escape(f"the handle of a run has no {name!r}: {way}")
    ):
        getattr(handle, name)
    with pytest.raises(AttributeError, match="'Future' object has no attribute 'zzz'"):
        _ = cast("Any", handle).zzz


def test_an_attribute_of_other_groups_is_told_what_stands_in_its_place() -> None:
    runs: FutureList[int] = FutureList()
    with pytest.raises(AttributeError, match=re.escape("no 'join': use runs.result(timeout=...)")):
        _ = cast("Any", runs).join
    with pytest.raises(AttributeError, match="'FutureList' object has no attribute 'zzz'"):
        _ = cast("Any", runs).zzz


def test_an_import_of_what_others_have_is_told_where_to_find_it() -> None:
    with pytest.raises(
        ImportError, match=r"^jtask has no 'serve': import it from jtask\.task_worker$"
    ):
        from jtask import serve  # type: ignore[attr-defined] # noqa: F401 # pyright: ignore
    with pytest.raises(ImportError, match="cannot import name 'zzz'"):
        from jtask import zzz  # type: ignore[attr-defined] # noqa: F401 # pyright: ignore


@pytest.mark.parametrize("name", ["chain", "zzz"])
def test_what_others_have_is_asked_for_in_vain_as_anything_else(name: str) -> None:
    assert not hasattr(jtask, name)
    assert getattr(jtask, name, None) is None
    with pytest.raises(AttributeError, match=f"has no .*{name}"):
        getattr(jtask, name)


def test_an_attribute_that_others_have_is_told_where_to_find_it() -> None:
    said = re.escape("jtask has no 'serve': import it from jtask.task_worker")
    with pytest.raises(AttributeError, match=f"^{said}$"):
        _ = cast("Any", jtask).serve


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("limit", "use concurrency=..."),
        ("cron", "it belongs to the task: @task(cron=...)"),
        ("zzz", "it takes concurrency=..., see jtask.task_worker.serve"),
    ],
)
def test_what_serve_does_not_take_is_told_what_stands_in_its_place(name: str, way: str) -> None:
    given: dict[str, Any] = {name: 1}
    said = re.escape(f"serve has no argument {name!r}: {way}")
    for start in (lambda: serve(add, **given), lambda: add.serve(**given)):
        with pytest.raises(ArgumentError, match=said):
            start()
    for begin in (lambda: aserve(add, **given), lambda: add.aserve(**given)):
        with pytest.raises(ArgumentError, match=said):
            asyncio.run(begin())


def test_what_others_know_of_a_run_is_told_where_it_is() -> None:
    with pytest.raises(AttributeError, match=re.escape("'job_try': use runtime.attempt")):
        _ = cast("Any", runtime).job_try
    with pytest.raises(AttributeError, match=r"jtask\.runtime has no 'zzz'"):
        _ = cast("Any", runtime).zzz
    assert [name for name in other_libraries.ON_RUNTIME if hasattr(runtime, name)] == []


@pytest.mark.parametrize(
    ("line", "way"),
    [
        (["worker", "-A", "shop"], "No such command 'worker': use `jtask serve`."),
        (["task", "serve", "shop.py"], "No such command 'task': use `jtask serve`."),
        (["serve", "-A", "shop"], "No such option '-A': name modules, files or tasks to serve"),
        (["serve", "shop", "-Q", "mail"], "No such option '-Q': a worker takes runs from"),
        (["wrkers"], "No such command 'wrkers'. Did you mean 'workers'?"),
        (["runs", "-A"], "No such option '-A'.\n"),
    ],
)
def test_a_command_of_others_is_told_what_stands_in_its_place(line: list[str], way: str) -> None:
    answer = CliRunner().invoke(main, line)
    assert way in answer.stderr
    assert answer.exit_code == 2


def test_a_setting_of_others_is_told_what_stands_in_its_place() -> None:
    known = {"result_limit", "result_ttl", "results_url", "url"}
    said = unknown_variable("JTASK_RESULT_EXPIRES", known)
    assert said.endswith("did you mean JTASK_RESULT_TTL?")
    assert unknown_variable("JTASK_API_URL", known).endswith("did you mean JTASK_URL?")


def test_what_other_libraries_call_an_option_leads_to_one_that_there_is() -> None:
    known = {*OWN_OPTIONS, *get_plugins().options}
    assert set(other_libraries.OPTION_NAMES.values()) <= known
    assert known.isdisjoint({*other_libraries.OPTION_NAMES, *other_libraries.NO_OPTIONS})


@pytest.mark.parametrize(
    ("ways", "owner"),
    [
        (other_libraries.ON_TASKS, add),
        (other_libraries.ON_RUNS, Future("0198c4")),
        (other_libraries.ON_RUN_LISTS, FutureList[int]()),
    ],
)
def test_no_name_that_there_is_has_something_in_its_place(
    ways: Mapping[str, str], owner: object
) -> None:
    assert [name for name in ways if hasattr(owner, name)] == []


def test_no_command_that_there_is_has_another_in_its_place() -> None:
    commands = main.list_commands(main.make_context("jtask", [], resilient_parsing=True))
    assert set(commands).isdisjoint(other_libraries.COMMANDS)
    taken = {name for param in main.commands["serve"].params for name in param.opts}
    assert taken.isdisjoint(other_libraries.SERVE_OPTIONS)
