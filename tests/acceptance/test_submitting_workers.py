"""What the runs of a worker submit and nobody waits for: its end does not wait for ever."""

import signal
from typing import Any

import pytest

PATIENCE = 40.0

TASKS = """
import asyncio, time
from jtask import task

@task
def start(kind: str) -> None:
    {"quick": quick, "sleep": sleep, "await": pause, "more": more}[kind].submit()

@task
def quick() -> None:
    mark("begun")
    while not os.path.exists("go"):
        time.sleep(0.01)
    mark("ended")

@task
def sleep() -> None:
    mark("begun")
    time.sleep(600)

@task
async def pause() -> None:
    mark("begun")
    try:
        await asyncio.sleep(600)
    finally:
        mark("cleaned up")

@task
def more() -> None:
    mark("begun")
    while True:
        quick.submit()
        time.sleep(0.1)
"""


def worker_with(place: Any, eventually: Any, kind: str, *options: str) -> Any:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py", *options)
    worker.is_ready()
    place.result(place.enqueue("tasks.py:start", kind))
    eventually(lambda: "begun" in place.marks())
    return worker


def test_a_worker_ends_after_what_its_runs_have_submitted(place: Any, eventually: Any) -> None:
    worker = worker_with(place, eventually, "quick", "--shutdown-timeout", str(PATIENCE))
    worker.send(signal.SIGTERM)
    (place.folder / "go").touch()
    assert worker.wait() == 0
    assert "ended" in place.marks()
    assert "cancelled" not in worker.log


@pytest.mark.parametrize("kind", ["sleep", "await", "more"])
def test_submitted_runs_that_outlive_the_shutdown_timeout_are_cancelled(
    place: Any, eventually: Any, kind: str
) -> None:
    worker = worker_with(place, eventually, kind, "--shutdown-timeout", "0.2")
    assert worker.stop() == 0
    assert "submitted runs that were not over" in worker.log
    assert "cleaned up" in place.marks() if kind == "await" else "left behind" in worker.log


def test_a_second_signal_cancels_submitted_runs_at_once(place: Any, eventually: Any) -> None:
    worker = worker_with(place, eventually, "await", "--shutdown-timeout", "600")
    # Signals that are sent in a row can arrive as one.
    eventually(lambda: "cleaned up" in place.marks() or worker.send(signal.SIGTERM))
    assert worker.wait() == 0
