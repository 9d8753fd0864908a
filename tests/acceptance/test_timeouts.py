"""Limits of runs in a real worker, on the real server."""

from typing import Any

TASKS = """
import asyncio, time
from jtask import task

@task(queue="limited", timeout_seconds=0.3)
def sleep() -> None:
    time.sleep(60)

@task(queue="limited", timeout_seconds=0.3, retries=1)
async def wait() -> None:
    await asyncio.sleep(60)

@task(queue="limited", isolation="process")
def linger() -> None:
    try:
        mark("lingers")
        time.sleep(60)
    finally:
        mark("cleaned up")

@task(queue="limited")
def add(a: int, b: int) -> int:
    return a + b
"""


def test_a_thread_that_hangs_frees_its_slot_and_its_stack_is_shown(place: Any) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py", "-c", "1")
    hanging = place.enqueue("tasks.py:sleep")
    after = place.enqueue("tasks.py:add", "a=1", "b=2")
    assert place.result(after)["state"] == "Completed"
    assert place.result(hanging)["state"] == "TimedOut"
    assert "it is left behind, its slot is free" in worker.log
    shown = place.jtask("runs", "show", hanging).stdout
    assert "still executing after 0.15 seconds" in shown
    assert "time.sleep(60)" in shown


def test_a_worker_with_a_hanging_thread_stops(place: Any) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py", "-c", "1")
    assert place.result(place.enqueue("tasks.py:sleep"))["state"] == "TimedOut"
    assert worker.stop() == 0


def test_a_timeout_is_tried_again(place: Any) -> None:
    place.write("tasks.py", TASKS)
    place.serve("tasks.py", "-c", "1")
    run_id = place.enqueue("tasks.py:wait")
    ended = place.result(run_id)
    assert (ended["state"], ended["attempt"]) == ("TimedOut", 2)
    assert "AwaitingRetry" in place.jtask("runs", "show", run_id).stdout


def test_an_isolated_run_is_ended_by_the_command(place: Any, eventually: Any) -> None:
    place.write("tasks.py", TASKS)
    place.serve("tasks.py", "-c", "1")
    run_id = place.enqueue("tasks.py:linger")
    eventually(lambda: "lingers" in place.marks())
    assert "interrupted" in place.jtask("cancel", run_id).stdout
    assert place.result(run_id)["state"] == "Cancelled"
    assert place.marks() == ["lingers", "cleaned up"]
