"""Runs that wait for a retry while everything around them dies."""

from collections import Counter
from typing import Any

import pytest

TASKS = """
import time
from jtask import runtime, task

@task(queue="flaky", retries=1, retry_delay_seconds=4)
def once_more(n: int) -> list[float]:
    mark(f"{n} {runtime.attempt}")
    if runtime.attempt == 1:
        raise ValueError("boom")
    return [n, time.time()]

@task(queue="often", retries=3, retry_delay_seconds=[0, 0.3, 0.6])
def often(n: int) -> int:
    mark(f"{n} {runtime.attempt}")
    if runtime.attempt < 4:
        raise ValueError("boom")
    return n
"""


def test_a_thousand_runs_that_wait_for_their_retry_survive_the_death_of_everything(
    place: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py", "-c", "20", JTASK_LEASE="2")
    worker.is_ready()
    run_ids = place.ask(
        """
        import time
        import tasks
        from jtask.client import get_client

        runs = tasks.once_more.delay_many([(n,) for n in range(1000)])
        client = get_client()
        while client.io.run(client.broker.queues.depth("flaky")):
            time.sleep(0.01)
        print(json.dumps([run.run_id for run in runs]))
        """
    )
    worker.kill()
    place.kill_server()
    waiting = 1000 - sum(mark.endswith(" 2") for mark in place.marks())
    survivor = place.serve("tasks.py", "-c", "20", JTASK_LEASE="2")
    survivor.is_ready()
    ends = place.ask(
        f"""
        from jtask import get_run

        ends = []
        for run_id in {run_ids}:
            run = get_run(run_id)
            n, at = run.result(45)
            ends.append([n, run.attempt, at - run.info.history[-1].ended])
        print(json.dumps(ends))
        """
    )
    assert [n for n, _, _ in ends] == list(range(1000))
    assert {attempt for _, attempt, _ in ends} == {2}
    waits = sorted(wait for *_, wait in ends)
    assert waits[0] >= 3.99
    executed = Counter(place.marks())
    assert set(executed) == {f"{n} {attempt}" for n in range(1000) for attempt in (1, 2)}
    with capsys.disabled():
        twice = sum(count > 1 for count in executed.values())
        print(
            f"\n  {waiting} runs waited when all was killed; after a delay of 4 s they began again"
            f" at {waits[0]:.2f} to {waits[-1]:.2f} s; {twice} attempts were executed twice"
        )
    assert survivor.stop() == 0


def test_no_run_is_lost_or_stuck_when_workers_and_servers_die_among_retries(
    place: Any, eventually: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py", "-c", "10", JTASK_LEASE="1")
    worker.is_ready()
    caller = place.start_python(
        """
        import time
        import tasks
        runs = tasks.often.delay_many([(n,) for n in range(300)])
        with open("ids.json", "w") as file:
            json.dump([run.run_id for run in runs], file)
        mark = tasks.mark("sent")
        time.sleep(60)
        """
    )
    for already in (100, 400, 700):
        eventually(lambda target=already: len(place.marks()) > target)
        worker.kill()
        caller.kill()
        if already != 400:
            place.kill_server()
        worker = place.serve("tasks.py", "-c", "10", JTASK_LEASE="1")
        worker.is_ready()
    ends = place.ask(
        """
        from jtask import get_run
        runs = [get_run(run_id) for run_id in json.load(open("ids.json"))]
        print(json.dumps([[run.result(45), run.attempt] for run in runs]))
        """
    )
    assert ends == [[n, 4] for n in range(300)]
    executed = Counter(mark for mark in place.marks() if mark != "sent")
    assert set(executed) == {f"{n} {attempt}" for n in range(300) for attempt in (1, 2, 3, 4)}
    with capsys.disabled():
        twice = sum(count - 1 for count in executed.values())
        print(f"\n  three workers and two servers killed: {twice} of 1200 attempts ran twice")
    assert worker.stop() == 0
