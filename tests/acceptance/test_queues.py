"""Hold queues up while workers and the server come and go."""

import json
import time
from typing import Any

TASKS = """
from jtask import task

@task(queue="reports")
def report(n: int) -> int:
    mark(f"{n}")
    return n
"""


def test_a_pause_survives_workers_and_the_server_and_ends_at_its_instant(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    before = place.serve("tasks.py", JTASK_LEASE="1")
    before.is_ready()
    length = 10.0
    asked = time.time()
    said = place.jtask("queues", "pause", "reports", "--for", f"{length}s", "--json")
    until = json.loads(said.stdout)["paused_until"]
    assert asked + length <= until
    run_id = place.enqueue("tasks.py:report", "1")
    before.kill()
    assert place.jtask("server", "stop").returncode == 0
    after = place.serve("tasks.py", JTASK_LEASE="1")
    after.is_ready()
    listed = json.loads(place.jtask("queues", "ls", "--json").stdout)
    [info] = [info for info in listed if info["name"] == "reports"]
    if time.time() < until - 1:
        assert (info["waiting"], abs(info["paused_until"] - until) < 0.01) == (1, True)
    assert place.result(run_id)["result"] == 1
    assert time.time() >= until
    assert after.stop() == 0


def test_purging_wakes_those_who_wait_in_other_processes(place: Any, eventually: Any) -> None:
    place.write("tasks.py", TASKS)
    waiter = place.start_python(
        """
        import tasks
        from jtask.errors import RunCancelled

        runs = tasks.report.delay_many([(n,) for n in range(20)])
        tasks.mark("sent")
        for run in runs:
            try:
                run.result(60)
            except RunCancelled:
                tasks.mark(run.state.message)
        """
    )
    eventually(lambda: place.marks() == ["sent"])
    done = place.jtask("queues", "purge", "reports", "--yes", "--json")
    assert json.loads(done.stdout) == {"queue": "reports", "cancelled": 20}
    assert waiter.wait() == 0
    assert place.marks() == ["sent"] + ["purged from its queue"] * 20
