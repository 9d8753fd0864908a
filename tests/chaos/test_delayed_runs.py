"""Delayed runs and schedules while everything around them dies."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

TASKS = """
import time
from jtask import runtime, task

@task
def on_time(at: float) -> float:
    mark(f"{runtime.run_id}")
    return time.time() - at

@task(every=1)
def beat():
    mark(f"{runtime.run_id}")
"""
SERVE = ("tasks.py:on_time", "-c", "20")
LEASE = {"JTASK_LEASE": "2"}


def test_a_thousand_delayed_runs_survive_the_death_of_everything_and_come_on_time(
    place: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve(*SERVE, **LEASE)
    worker.is_ready()
    run_ids = place.ask(
        """
        import time
        import tasks
        from jtask.client import get_client

        # Half of them are due while nothing lives, half some time later.
        now = time.time()
        due = [now + 2 + n * 0.004 if n < 500 else now + 6 + n % 500 * 0.004 for n in range(1000)]
        runs = [tasks.on_time.apply_async((at,), eta=at) for at in due]
        print(json.dumps([run.run_id for run in runs]))
        """
    )
    worker.kill()
    place.kill_server()
    survivor = place.serve(*SERVE, **LEASE)
    survivor.is_ready()
    late = place.ask(
        f"""
        from jtask import get_run
        print(json.dumps([get_run(run_id).result(45) for run_id in {run_ids}]))
        """
    )
    assert min(late) >= 0
    executed = Counter(place.marks())
    assert set(executed) == set(run_ids)
    with capsys.disabled():
        later = sorted(late[500:])
        twice = sum(count > 1 for count in executed.values())
        print(
            f"\n  1000 delayed runs, worker and server killed: {twice} executed twice; those due "
            f"afterwards started {later[250] * 1e3:.1f} ms late (p50), "
            f"{later[495] * 1e3:.1f} ms (p99)"
        )
    assert survivor.stop() == 0


def test_a_schedule_survives_the_death_of_its_workers_and_of_the_server(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)

    def goes_on(least: int) -> None:
        so_far = len(place.marks())
        eventually(lambda: len(place.marks()) >= so_far + least)

    workers = [place.serve("tasks.py:beat", **LEASE) for _ in range(2)]
    goes_on(2)
    place.kill_server()
    goes_on(2)
    workers[0].kill()
    place.kill_server()
    goes_on(2)
    workers[1].kill()
    last = place.serve("tasks.py:beat", **LEASE)
    goes_on(3)
    assert last.stop() == 0
    ran = Counter(place.marks())
    due = sorted(int(run[:8] + run[9:13], 16) for run in ran)
    assert all((later - sooner) % 1000 == 0 for sooner, later in pairwise(due))
    # What a killed worker had begun begins again; nothing else does.
    assert sum(count - 1 for count in ran.values()) <= 3
