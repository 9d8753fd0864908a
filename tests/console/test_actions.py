"""What people do with the console, and what is written down of it."""

import json
from typing import Any

import pytest
from click.testing import CliRunner
from in_process import StartWorker
from parcels import calls, go_on, is_wrong, parcel, slow
from served_console import PAGE, ServedConsole, StartConsole
from waiting import PATIENCE, eventually

from jtask.cli.program import main
from jtask.errors import JTaskError
from jtask_console.actions import operations
from jtask_dead_letters.operations import list_letters
from jtask_index.bulk import BulkOperations
from jtask_index.operations import whoami
from jtask_queues.operations import list_queues


@pytest.fixture(autouse=True)
def _patiently(monkeypatch: pytest.MonkeyPatch) -> None:
    # Or a busy machine would have it go on in the background.
    monkeypatch.setattr(operations, "_QUICK", PATIENCE)


def said(console: ServedConsole, answer: Any) -> str:
    """Follow an answer to the page that says what came of an action."""
    assert answer.status_code == 303, answer.text
    page = console.client.get(answer.headers["location"], headers=PAGE).text
    return page.partition('<p class="said" role="status">')[2].partition("</p>")[0]


def queue_named(name: str) -> Any:
    return next((info for info in list_queues() if info.name == name), None)


def test_a_queue_is_paused_resumed_and_purged(console: ServedConsole) -> None:
    for n in range(3):
        parcel.delay(str(n))
    assert "parcels is paused" in said(console, console.post("/queues/parcels/pause"))
    assert queue_named("parcels").pause is not None
    assert "is resumed" in said(console, console.post("/queues/parcels/resume"))
    assert queue_named("parcels").pause is None
    assert "Cancel the 3 runs of parcels" in console.page("/queues")
    assert "3 runs of parcels cancelled" in said(console, console.post("/queues/parcels/purge"))
    audit = console.page("/audit")
    for kind in ("pause queue", "resume queue", "purge queue"):
        assert kind in audit
    assert "local" in audit


def test_what_an_action_says_is_said_once(console: ServedConsole) -> None:
    assert said(console, console.post("/queues/parcels/pause"))
    assert 'class="said"' not in console.page("/queues")


def test_selected_runs_are_cancelled(console: ServedConsole, jtask_worker: StartWorker) -> None:
    jtask_worker(slow)
    waiting, executing, other = parcel.delay("Ada"), slow.delay(), parcel.delay("Bob")
    eventually(lambda: console.shows(f"/runs/{executing.run_id}", "Running"))
    answer = console.post("/runs/cancel", {"run": [waiting.run_id, executing.run_id]})
    assert "1 never starts" in said(console, answer)
    assert waiting.wait(PATIENCE)
    assert waiting.state.is_cancelled()
    assert not other.state.is_final()
    go_on.set()


def test_a_run_is_executed_again_with_its_own_arguments_and_with_others(
    console: ServedConsole, jtask_worker: StartWorker
) -> None:
    jtask_worker(parcel)
    run = parcel.delay("Ada")
    run.result(PATIENCE)
    eventually(lambda: console.shows(f"/runs/{run.run_id}/again", "Ada"))
    assert "1 rerun" in said(console, console.post("/runs/rerun", {"run": run.run_id}))
    eventually(lambda: calls["Ada"] == 2)
    changed = {"run": run.run_id, "arguments": '{"to": "Eve"}'}
    assert "1 rerun" in said(console, console.post("/runs/rerun", changed))
    eventually(lambda: calls["Eve"] == 1)
    wrong = {"run": run.run_id, "arguments": '{"to": '}
    assert "not JSON" in said(console, console.post("/runs/rerun", wrong))
    eventually(lambda: console.shows("/runs?where=args.to%3DEve", "Completed"))


def test_all_that_match_a_filter_are_run_again_once(
    console: ServedConsole, jtask_worker: StartWorker
) -> None:
    jtask_worker(parcel)
    is_wrong.set()
    for n in range(250):
        parcel.delay(f"wrong-{n}")
    eventually(lambda: sum(calls.values()) == 250)
    eventually(lambda: console.shows("/runs?state=Failed", "<b data-meant>250</b>"))
    is_wrong.clear()
    parcel.delay("right").result(PATIENCE)
    console.post("/runs/rerun", {"all": "1", "filter": "state=Failed"})
    eventually(lambda: console.shows("/audit", "250</span>"))
    eventually(lambda: sum(calls.values()) == 501)
    assert calls.pop("right") == 1
    assert set(calls.values()) == {2}


def test_what_was_broken_off_goes_on_with_the_next_console(
    start_console: StartConsole, jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    jtask_worker(parcel)
    run = parcel.delay("Ada")
    run.result(PATIENCE)
    first = start_console()
    eventually(lambda: first.shows("/runs?state=Completed", "<b data-meant>1</b>"))
    with monkeypatch.context() as patch:
        patch.setattr(BulkOperations, "carry_out", _never)
        first.post("/runs/rerun", {"run": run.run_id, "arguments": '{"to": "Eve"}'})
    assert first.shows("/audit", "rerun runs")
    second = start_console()
    eventually(lambda: second.shows("/audit", "1</span>"))
    eventually(lambda: calls["Eve"] == 1)
    assert calls["Ada"] == 1


async def _never(*_: object) -> None:
    raise JTaskError("as if it had died")


def test_what_commands_and_consoles_do_is_in_one_log(
    console: ServedConsole, jtask_worker: StartWorker
) -> None:
    jtask_worker(parcel)
    parcel.delay("Ada").result(PATIENCE)
    eventually(lambda: console.shows("/runs?state=Completed", "<b data-meant>1</b>"))
    rerun = CliRunner().invoke(main, ["runs", "rerun", "--task", "parcel", "--yes", "--json"])
    assert rerun.exit_code == 0, rerun.output
    eventually(lambda: calls["Ada"] == 2)
    audit = console.page("/audit")
    assert whoami() in audit
    assert "rerun runs" in audit
    operation_id = json.loads(rerun.stdout)["operation_id"]
    noted = console.client.get(f"/api/operations/{operation_id}").json()
    assert (noted["done"], noted["over"], noted["said"]) == (1, True, "1 rerun.")
    console.post("/queues/parcels/pause")
    listed = CliRunner().invoke(main, ["runs", "operations", "--json"])
    found = {(one["kind"], one["who"]) for one in json.loads(listed.stdout)}
    assert found == {("rerun runs", whoami()), ("pause queue", "local")}


def test_a_run_that_is_not_over_is_not_executed_twice(
    console: ServedConsole, jtask_worker: StartWorker
) -> None:
    jtask_worker(slow)
    run = slow.delay()
    eventually(lambda: console.shows("/runs?state=Running", "<b data-meant>1</b>"))
    assert "it is not over" in said(console, console.post("/runs/rerun", {"run": run.run_id}))
    go_on.set()


def test_dead_letters_are_replayed_as_a_group(
    console: ServedConsole, jtask_worker: StartWorker
) -> None:
    jtask_worker(parcel)
    is_wrong.set()
    for n in range(60):
        parcel.delay(str(n)).wait(PATIENCE)
    eventually(lambda: len(list_letters()) == 60)
    is_wrong.clear()
    letter = list_letters()[0]
    assert "Replay 60 dead letters" in console.page("/dead-letters")
    group = {"task": letter.task, "error": letter.error}
    console.post("/dead-letters/replay", group)
    eventually(lambda: not list_letters())
    eventually(lambda: sum(calls.values()) == 120)
    assert set(calls.values()) == {2}


def test_what_a_command_does_to_dead_letters_is_in_the_audit_log(
    console: ServedConsole, jtask_worker: StartWorker
) -> None:
    jtask_worker(parcel)
    is_wrong.set()
    for n in range(3):
        parcel.delay(str(n)).wait(PATIENCE)
    eventually(lambda: len(list_letters()) == 3)
    is_wrong.clear()
    console.page("/audit")  # from now on there is an index
    one, *_ = (letter.run_id for letter in list_letters())
    dropped = CliRunner().invoke(main, ["dead", "drop", one])
    assert (dropped.exit_code, "1 dead letter deleted" in dropped.output) == (0, True)
    replayed = CliRunner().invoke(main, ["dead", "replay", "--task", "parcel", "--yes", "--json"])
    answers = json.loads(replayed.stdout)
    assert len({answer["new_run_id"] for answer in answers}) == 2
    eventually(lambda: sum(calls.values()) == 5)
    audit = console.page("/audit")
    for text in ("replay dead letters", "task=parcel", "drop dead letters", one, whoami()):
        assert text in audit


def test_dropped_dead_letters_are_gone(console: ServedConsole, jtask_worker: StartWorker) -> None:
    jtask_worker(parcel)
    is_wrong.set()
    parcel.delay("Ada").wait(PATIENCE)
    eventually(lambda: len(list_letters()) == 1)
    letter = list_letters()[0]
    answer = console.post("/dead-letters/drop", {"run": letter.run_id})
    assert "1 deleted" in said(console, answer)
    assert list_letters() == []


def test_an_action_on_nothing_says_so(console: ServedConsole) -> None:
    assert "select some" in said(console, console.post("/runs/cancel", {"filter": ""}))
    assert "no schedule" in said(console, console.post("/schedules/run", {"key": "nothing"}))
