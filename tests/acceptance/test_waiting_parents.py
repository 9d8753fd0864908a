"""Runs that wait for runs, in real workers: apart from them, and when these are killed."""

import os
import signal
from typing import Any

NESTED = """
from jtask import task

@task(queue="nested", isolation="process")
def apart(depth: int) -> int:
    return depth and 1 + within.delay(depth - 1).result(timeout=40)

@task(queue="nested", isolation="process")
async def apart_later(depth: int) -> int:
    return depth and 1 + await apart_later.delay(depth - 1)

@task(queue="nested")
def within(depth: int) -> int:
    return depth and 1 + apart.delay(depth - 1).result(timeout=40)

@task(queue="nested", isolation="process", soft_timeout_seconds=0.3)
def interrupted() -> int:
    from jtask.errors import SoftTimeout
    try:
        while True:
            within.delay(0).result(timeout=40)
    except SoftTimeout:
        return within.delay(0).result(timeout=40)
"""

FAMILY = """
from jtask import task

@task(queue="family")
def parent(n: int) -> int:
    return 1 + child.delay(n).result()

@task(queue="family")
async def parent_later(n: int) -> int:
    return 1 + await child.delay(n)

@task(queue="family")
def child(n: int) -> int:
    import time
    mark(f"child {n}")
    while not os.path.exists("go"):
        time.sleep(0.01)
    return n
"""


def test_runs_in_processes_of_their_own_that_wait_for_runs_end_with_one_slot(place: Any) -> None:
    place.write("tasks.py", NESTED)
    place.serve("tasks.py", "-c", "1").is_ready()
    runs = [
        place.enqueue("tasks.py:apart", "2"),
        place.enqueue("tasks.py:apart_later", "1"),
        place.enqueue("tasks.py:interrupted"),
    ]
    assert [place.result(run)["result"] for run in runs] == [2, 1, 0]


def test_parents_that_waited_in_a_killed_worker_end_in_another(place: Any, eventually: Any) -> None:
    place.write("tasks.py", FAMILY)
    options = ("tasks.py", "-c", "1")
    first = place.serve(*options, JTASK_LEASE="2")
    first.is_ready()
    runs = [place.enqueue("tasks.py:parent", "1"), place.enqueue("tasks.py:parent_later", "2")]
    # Each waits for a child: of both, one executes and holds the one slot.
    eventually(lambda: place.marks())
    os.kill(first.pid, signal.SIGKILL)
    (place.folder / "go").touch()
    place.serve(*options, JTASK_LEASE="2")
    assert [place.result(run)["result"] for run in runs] == [2, 3]
