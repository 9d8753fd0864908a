"""What the supervisor decides; its processes are in tests/acceptance."""

import os
import queue
import signal
import socket
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE

from jtask.errors import ConfigurationError
from jtask.worker.reload import changes_in, folders_of
from jtask.worker.supervised import Lifeline
from jtask.worker.supervisor import Backoff, describe_end


def test_each_death_makes_the_next_pause_longer_up_to_half_a_minute() -> None:
    backoff = Backoff()
    pauses = [backoff.after(lived=1.0) for _ in range(12)]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == 30.0


def test_a_healthy_minute_makes_the_pause_short_again() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(lived=1.0)
    assert backoff.after(lived=60.0) == 0.1


def test_an_end_is_told_with_the_name_of_the_signal() -> None:
    assert describe_end(-signal.SIGKILL) == "was killed by SIGKILL"
    assert describe_end(-signal.SIGSEGV) == "was killed by SIGSEGV"
    assert describe_end(-signal.SIGABRT).startswith("was killed by SIGABRT (a library gave up")
    assert describe_end(-250) == "was killed by signal 250"
    assert describe_end(1) == "ended with exit code 1"


def test_reload_without_watchfiles_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(ConfigurationError, match=r'pip install "jtask\[reload\]"'):
        changes_in(["."])


def test_reload_watches_the_current_folder_and_those_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    assert folders_of(["module:task", "../there/tasks.py:task", "tasks.py"]) == [
        str(here),
        str(there),
    ]


@pytest.mark.parametrize("is_ready", [False, True], ids=["at once", "with a word unread"])
def test_a_worker_stops_when_its_supervisor_dies_even_before_that_read_its_word(
    is_ready: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kills: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
    monkeypatch.setattr("os.kill", lambda *what: kills.put(what))
    ours, theirs = socket.socketpair()
    lifeline = Lifeline(theirs.detach())
    if is_ready:
        lifeline.report_ready()
    ours.close()
    assert kills.get(timeout=PATIENCE) == (os.getpid(), signal.SIGTERM)
    assert "the supervisor is gone" in caplog.text


def test_a_worker_that_is_ready_too_late_for_its_supervisor_does_not_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kills: queue.SimpleQueue[int] = queue.SimpleQueue()
    monkeypatch.setattr("os.kill", lambda _, number: kills.put(number))
    ours, theirs = socket.socketpair()
    lifeline = Lifeline(theirs.detach())
    ours.close()
    assert kills.get(timeout=PATIENCE) == signal.SIGTERM
    lifeline.report_ready()
