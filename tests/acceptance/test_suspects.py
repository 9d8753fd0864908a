"""Runs that kill their workers, beside long innocent ones."""

from typing import Any

import pytest

TASKS = """
import ctypes, time
from jtask import task

@task(queue="mixed")
def poison(number: int) -> None:
    time.sleep(0.3)
    ctypes.string_at(0)  # a segmentation fault

@task(queue="mixed")
def innocent(number: int) -> int:
    mark(f"{number}")
    time.sleep(3)
    return number

@task(queue="mixed")
async def gentle(number: int) -> int:
    import asyncio
    await asyncio.sleep(3)
    return number
"""


@pytest.mark.timeout(240)
def test_poison_ends_crashed_and_the_innocent_runs_beside_it_complete(place: Any) -> None:
    place.write("tasks.py", TASKS)
    poison, innocent = place.ask(
        """
        import tasks
        poison = tasks.poison.delay_many([(n,) for n in range(3)])
        innocent = tasks.innocent.delay_many([(n,) for n in range(4)])
        innocent += tasks.gentle.delay_many([(n,) for n in range(4, 6)])
        print(json.dumps([[run.run_id for run in runs] for runs in (poison, innocent)]))
        """
    )
    program = place.serve("tasks.py", "-p", "2", "-c", "8", JTASK_LEASE="2")
    # First: each starts a process or two, which takes its time on a busy machine.
    for kills in (1, 2):
        program.says("was killed by SIGSEGV: starting another", kills)
    for ends in (1, 3):
        program.says("a process of its own: the run's process", ends)
    assert [place.result(run_id)["state"] for run_id in innocent] == ["Completed"] * 6
    outcomes = [place.result(run_id) for run_id in poison]
    assert [end["state"] for end in outcomes] == ["Crashed"] * 3
    assert all(
        "lost 3 workers, the last one a process of its own" in e["message"] for e in outcomes
    )
    assert program.stop() == 0
