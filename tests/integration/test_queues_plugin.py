"""Look after queues, on both brokers."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from in_process import StartWorker, lose_workers, on_each_broker, on_io
from waiting import PATIENCE, eventually

from jtask import StateName, task
from jtask.cli.program import main
from jtask.errors import TaskDefinitionError
from jtask_queues.operations import list_queues, pause_queue, purge_queue, resume_queue
from jtask_queues.purging import cancel_unstarted

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


@task(queue="reports")
def report(n: int = 0) -> int:
    return n


@task(queue="letters")
def letter() -> str:
    return "sent"


def program(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["queues", *arguments])


def test_nothing_of_a_paused_queue_starts_until_it_is_resumed(jtask_worker: StartWorker) -> None:
    jtask_worker(report, letter)
    assert pause_queue("reports") is None
    run = report.delay(1)
    assert letter.delay().result(PATIENCE) == "sent"  # so long the other one had
    assert on_io(lambda broker: broker.results.get(run.run_id)) is None
    assert resume_queue("reports") is True
    assert run.result(PATIENCE) == 1
    assert resume_queue("reports") is False


@pytest.mark.parametrize(
    "until",
    [0.2, timedelta(seconds=0.2), "instant"],
    ids=["seconds", "timedelta", "datetime"],
)
def test_a_pause_ends_by_itself(until: Any, jtask_worker: StartWorker) -> None:
    jtask_worker(report)
    if until == "instant":
        until = datetime.now(UTC) + timedelta(seconds=0.2)
    end = pause_queue("reports", until)
    assert end is not None
    run = report.delay(1)
    assert run.result(PATIENCE) == 1
    assert time.time() >= end


@pytest.mark.parametrize(
    ("until", "complaint"),
    [
        ("soon", "finite number of seconds, got 'soon'"),
        (float("nan"), "finite number"),
        (datetime(2099, 1, 1), "has no time zone"),
    ],
    ids=str,
)
def test_an_end_that_is_none_is_refused(until: Any, complaint: str) -> None:
    with pytest.raises(TaskDefinitionError, match=complaint):
        pause_queue("reports", until)


def test_a_name_that_no_queue_can_have_is_refused() -> None:
    for change in (pause_queue, resume_queue, purge_queue):
        with pytest.raises(TaskDefinitionError, match="letters, digits"):
            change("a queue")


def test_purging_cancels_what_waits_and_wakes_whoever_waits_for_it() -> None:
    runs = [report.delay(n) for n in range(50)]
    runs.append(report.apply_async((1,), countdown=3600))
    other = report.apply_async((1,), queue="mails")
    ended = threading.Barrier(2)
    waiter = threading.Thread(target=lambda: (runs[7].wait(PATIENCE), ended.wait(PATIENCE)))
    waiter.start()
    assert purge_queue("reports") == 51
    ended.wait(PATIENCE)
    waiter.join(PATIENCE)
    for run in runs:
        assert (run.state.name, run.state.message) == (StateName.CANCELLED, "purged from its queue")
    assert on_io(lambda broker: broker.results.get(other.run_id)) is None
    assert purge_queue("reports") == 0


def test_what_a_lost_worker_had_waits_where_nobody_serves_its_queue() -> None:
    report.delay(1)
    lose_workers("reports", 1)
    [info] = [info for info in list_queues() if info.name == "reports"]
    assert (info.waiting, info.executing) == (1, 0)


def test_purging_leaves_what_executes_alone(jtask_worker: StartWorker) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @task(queue="slow")
    def slow() -> str:
        begun.set()
        go_on.wait(PATIENCE)
        return "done"

    jtask_worker(slow)
    run = slow.delay()
    assert begun.wait(PATIENCE)
    assert purge_queue("slow") == 0
    go_on.set()
    assert run.result(PATIENCE) == "done"


def test_a_reason_that_utf_8_cannot_carry_ends_what_a_worker_has_not_begun(
    jtask_worker: StartWorker,
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @task(queue="slow")
    def slow(n: int) -> int:
        begun.set()
        go_on.wait(PATIENCE)
        return n

    jtask_worker(slow, concurrency=1, prefetch=1)
    first, second = slow.delay(0), slow.delay(1)
    assert begun.wait(PATIENCE)
    eventually(lambda: [i.executing for i in list_queues() if i.name == "slow"] == [2])
    # As a program gets it whose command line is not UTF-8.
    assert on_io(lambda broker: cancel_unstarted(broker, "slow", "half \udce9")) == 1
    assert second.wait(PATIENCE)
    assert (second.state.name, second.state.message) == (StateName.CANCELLED, "half \\udce9")
    go_on.set()
    assert first.result(PATIENCE) == 0


def test_purging_has_workers_give_up_what_they_have_not_begun(jtask_worker: StartWorker) -> None:
    begun, go_on, executed = threading.Event(), threading.Event(), list[int]()

    @task(queue="slow")
    def slow(n: int) -> int:
        executed.append(n)
        begun.set()
        go_on.wait(PATIENCE)
        return n

    jtask_worker(slow, concurrency=1, prefetch=5)
    first = slow.delay(0)
    assert begun.wait(PATIENCE)
    runs = [slow.delay(n) for n in range(1, 11)]
    other = report.delay(1)
    eventually(lambda: [i.executing for i in list_queues() if i.name == "slow"] == [6])
    assert purge_queue("slow") == 10
    for run in runs:
        assert run.wait(PATIENCE)
        assert (run.state.name, run.state.message) == (StateName.CANCELLED, "purged from its queue")
    go_on.set()
    assert first.result(PATIENCE) == 0
    assert executed == [0]
    assert not other.done()


def test_the_program_lists_queues() -> None:
    assert "no queues" in program("ls").stderr
    report.delay(1)
    report.apply_async((1,), countdown=3600)
    pause_queue("mails")
    pause_queue("reports", 3600)
    lines = program("ls").stdout.splitlines()
    assert lines[0].split() == ["QUEUE", "WAITING", "EXECUTING", "DELAYED"]
    assert lines[1].split() == ["mails", "0", "0", "0", "paused,", "no", "worker", "serves", "it"]
    assert lines[2].split()[:6] == ["reports", "1", "0", "1", "paused", "until"]
    found = json.loads(program("ls", "--json").stdout)
    assert [info["name"] for info in found] == [info.name for info in list_queues()]


def test_the_program_pauses_and_resumes() -> None:
    said = program("pause", "reports", "--for", "10m").stderr
    assert "reports is paused until" in said
    assert said.endswith("; it has no runs, and no worker serves it at the moment\n")
    again = program("pause", "reports", "--for", "10m").stderr
    assert again.startswith("reports is paused until")
    assert "no worker serves it" not in again
    [info] = list_queues()
    assert info.paused_until is not None
    assert 500 < info.paused_until - time.time() <= 600
    until = (datetime.now() + timedelta(hours=1)).isoformat()
    said = json.loads(program("pause", "reports", "--until", until, "--json").stdout)
    assert abs(said["paused_until"] - time.time() - 3600) < 60
    assert program("resume", "reports").stderr == "reports is resumed\n"
    assert program("resume", "reports").stderr == "reports was not paused\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["pause", "reports", "--for", "1h", "--until", "2099-01-01"], "not both"),
        (["pause", "reports", "--until", "2001-01-01"], "in the past"),
        (["pause", "reports", "--until", "soon"], "is not a date or time"),
        (["purge", "reports"], "add --yes"),
    ],
)
def test_the_program_refuses_what_makes_no_sense(arguments: list[str], complaint: str) -> None:
    ended = program(*arguments)
    assert ended.exit_code == 2
    assert complaint in " ".join(ended.stderr.split())


def test_the_program_purges() -> None:
    report.delay(1)
    assert program("purge", "reports", "--yes").stderr == "1 run cancelled\n"
    said = json.loads(program("purge", "reports", "--yes", "--json").stdout)
    assert said == {"queue": "reports", "cancelled": 0}
