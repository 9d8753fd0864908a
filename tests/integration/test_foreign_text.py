"""Text that a terminal would obey, or that UTF-8 cannot carry, harms no run and no reader."""

import io
import logging

import pytest
from click.testing import CliRunner
from in_process import StartWorker, events_of, on_each_broker
from waiting import PATIENCE, eventually

from jtask import StateName, runtime, task
from jtask.cli.program import main
from jtask.task_worker import log_to_stderr
from jtask_dead_letters.operations import list_letters

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker

HALF = "file-\udc80"
EVIL = "\x1b[2J\x9b31m\u202e\r\n2031-01-01 00:00:00 ERROR forged"
attempts: list[int] = []


@task(key="listing", retries=1, retry_delay_seconds=0.01)
def listing(name: str) -> str:
    attempts.append(runtime.attempt)
    raise FileNotFoundError(2, "no such file", HALF)


@task(key="evil", name="evil \x1b[31m task")
def evil(text: str) -> None:
    raise ValueError(EVIL)


@task(key="plain-one")
def plain() -> int:
    return 1


def states_of(run_id: str) -> list[str]:
    return [event.state for event in events_of(run_id)]


def test_an_error_with_half_a_character_is_retried_and_told(jtask_worker: StartWorker) -> None:
    attempts.clear()
    jtask_worker(listing, plain)
    other, run = plain.delay(), listing.delay("x")
    run.wait(PATIENCE)
    assert attempts == [1, 2]
    assert run.state.name is StateName.FAILED
    assert "file-\\udc80" in str(run.exception())
    [letter] = eventually(list_letters)
    assert "file-\\udc80" in letter.reason
    # Sent in one batch with those of the other.
    for each, last in ((other, StateName.COMPLETED), (run, StateName.FAILED)):
        eventually(lambda each=each, last=last: last in states_of(each.run_id))  # type: ignore[misc]


def test_a_tag_and_a_cancel_message_with_half_a_character_are_carried(
    jtask_worker: StartWorker,
) -> None:
    tagged = plain.with_options(tags=[HALF]).delay()
    cancelled = plain.delay()
    cancelled.cancel(HALF)
    assert cancelled.wait(PATIENCE)
    assert cancelled.state.message == "file-\\udc80"
    jtask_worker(plain)
    assert tagged.result(PATIENCE) == 1


def test_no_command_hands_an_escape_to_the_terminal(jtask_worker: StartWorker) -> None:
    jtask_worker(evil)
    run = evil.delay("\x1b]0;title\x07")
    run.wait(PATIENCE)
    eventually(list_letters)
    eventually(lambda: StateName.FAILED in states_of(run.run_id))
    for arguments in (
        ("runs", "ls"),
        ("runs", "show", run.run_id),
        ("runs", "show", run.run_id, "--json"),
        ("result", run.run_id),
        ("result", run.run_id, "--json"),
        ("dead", "ls"),
        ("dead", "ls", "--json"),
        ("dead", "show", run.run_id),
        ("dead", "show", run.run_id, "--json"),
        ("dead", "replay", run.run_id),
        ("dead", "drop", EVIL),
        ("cancel", EVIL),
        ("queues", "ls"),
        ("queues", "pause", EVIL),
        ("enqueue", EVIL),
    ):
        ended = CliRunner().invoke(main, arguments)
        printed = ended.stdout + ended.stderr
        assert printed
        assert not set(printed) & set("\x1b\x9b\x07\r\u202e"), arguments


def test_no_log_line_can_be_forged_or_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    logger = logging.getLogger("jtask")
    monkeypatch.setattr("sys.stderr", written)
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    level = logger.level
    log_to_stderr()
    logger.warning("%s", EVIL)
    logger.setLevel(level)
    first, *further = written.getvalue().splitlines()
    assert "WARNING" in first
    assert all(line.startswith("    ") for line in further)
    assert not set(written.getvalue()) & set("\x1b\x9b\r\u202e")
