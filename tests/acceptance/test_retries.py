"""Retries and state hooks when a worker dies in between."""

import json
from typing import Any

TASKS = """
import os, signal, time
from jtask import runtime, task

@task(retries=2)
def dies_at_its_second_attempt() -> int:
    already = open(os.environ["MARKS"]).read() if os.path.exists(os.environ["MARKS"]) else ""
    mark(f"attempt {runtime.attempt}")
    if runtime.attempt == 1:
        raise ValueError("boom")
    if "attempt 2" not in already:
        os.kill(os.getpid(), signal.SIGKILL)
    return runtime.attempt

@task(retries=5)
def poison() -> None:
    mark(f"died {os.getpid()}")
    os.kill(os.getpid(), signal.SIGKILL)

@poison.on_crashed
def found(task, run, state) -> None:
    mark(f"found {os.getpid()} {state.name.value}")

@poison.on_failure
@poison.on_retry
def wrong(task, run, state) -> None:
    mark("wrong")

@task(retries=1, retry_delay_seconds=0.2)
def flaky() -> int:
    if runtime.attempt == 1:
        raise ValueError("boom")
    return 7
"""


def test_a_worker_that_dies_in_an_attempt_does_not_use_it_up(place: Any) -> None:
    place.write("tasks.py", TASKS)
    first = place.serve("tasks.py", JTASK_LEASE="1")
    run_id = place.enqueue("tasks.py:dies_at_its_second_attempt")
    first.wait()
    second = place.serve("tasks.py", JTASK_LEASE="1")
    end = place.result(run_id)
    assert (end["state"], end["result"], end["attempt"]) == ("Completed", 2, 2)
    assert place.marks() == ["attempt 1", "attempt 2", "attempt 2"]
    assert second.stop() == 0


def test_on_crashed_is_called_by_the_worker_that_finds_the_crash(place: Any) -> None:
    place.write("tasks.py", TASKS)
    first = place.serve("tasks.py", JTASK_LEASE="1", JTASK_MAX_CRASHES="1")
    run_id = place.enqueue("tasks.py:poison")
    first.wait()
    second = place.serve("tasks.py", JTASK_LEASE="1", JTASK_MAX_CRASHES="1")
    assert place.result(run_id)["state"] == "Crashed"
    assert place.marks() == [f"died {first.pid}", f"found {second.pid} Crashed"]
    assert second.stop() == 0


def test_runs_show_tells_what_a_run_waited_for_and_why(place: Any) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py")
    run_id = place.enqueue("tasks.py:flaky")
    assert place.result(run_id)["result"] == 7
    assert worker.stop() == 0
    report = json.loads(place.jtask("runs", "show", run_id, "--json").stdout)
    waiting = next(s for s in report["states"] if s["state"] == "AwaitingRetry")
    assert waiting["until"] >= waiting["at"] + 0.15
    assert waiting["detail"].startswith("ValueError: boom; attempt 2 of 2 at ")
    (past,) = report["history"]
    assert past["number"] == 1
    assert "in flaky" in past["failure"]["traceback"]
    text = place.jtask("runs", "show", run_id).stdout
    assert "until" in text
    assert "earlier attempts\n  1  " in text
