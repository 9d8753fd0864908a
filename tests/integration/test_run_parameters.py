"""What `jtask runs show` says of the parameters of a run, on each broker."""

import json
import threading
from typing import Any

import pytest
from click.testing import CliRunner
from in_process import StartWorker, events_of, on_each_broker
from waiting import PATIENCE, eventually

from jtask import task
from jtask.cli.program import main
from jtask.runs import Run
from jtask.settings import get_settings
from jtask.states import StateName
from jtask_dead_letters.operations import list_letters

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker
gate = threading.Event()


@task(queue="shown")
def hold(item: str, password: str = "") -> None:
    gate.wait()
    if item == "none":
        raise ValueError(item)


def shown(run: Run[Any], *options: str) -> str:
    ended = CliRunner().invoke(main, ["runs", "show", run.run_id, *options])
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_the_parameters_of_a_run_are_shown_before_and_after_its_end(
    jtask_worker: StartWorker,
) -> None:
    gate.clear()
    run = hold.delay("tea", password="secret")
    expected = 'parameters\n  item      "tea"\n  password  "***"\n'
    eventually(lambda: events_of(run.run_id))
    assert expected in shown(run)
    jtask_worker(hold)
    eventually(lambda: run.state.name is StateName.RUNNING)
    assert expected in shown(run)
    assert json.loads(shown(run, "--json"))["parameters"] == {"item": "tea", "password": "***"}
    gate.set()
    run.result(PATIENCE)
    assert expected in shown(run)


def test_what_a_task_redacts_is_not_shown_although_its_message_has_it() -> None:
    run = hold.with_options(redact=["item"]).delay("tea")
    eventually(lambda: events_of(run.run_id))
    assert json.loads(shown(run, "--json"))["parameters"]["item"] == "[redacted]"


def test_without_recorded_arguments_the_parameters_are_those_of_the_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JTASK_EVENT_ARGUMENTS", "0")
    get_settings.cache_clear()
    run = hold.delay("tea")
    eventually(lambda: events_of(run.run_id))
    assert json.loads(shown(run, "--json"))["parameters"]["item"] == "tea"


def test_how_much_is_recorded_follows_the_settings_although_the_task_was_used_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = hold.delay("tea")
    monkeypatch.setenv("JTASK_EVENT_ARGUMENTS", "0")
    get_settings.cache_clear()
    since = hold.delay("tea")
    eventually(lambda: events_of(before.run_id) and events_of(since.run_id))
    assert "tea" in events_of(before.run_id)[0].arguments
    assert events_of(since.run_id)[0].arguments == ""


def test_the_parameters_of_a_run_that_failed_are_those_of_its_dead_letter(
    jtask_worker: StartWorker,
) -> None:
    gate.set()
    jtask_worker(hold)
    run = hold.delay("none")
    run.wait(PATIENCE)
    eventually(list_letters)
    assert 'item      "none"' in shown(run)
