"""Runs that wait for others, while workers and the server are killed."""

from typing import Any

TASKS = """
import time
from jtask import task

@task(queue="parts")
def part(n: int) -> int:
    mark(f"part {n}")
    time.sleep(0.005)
    return n

@task(queue="joins")
def join(parts: list[int]) -> int:
    mark("join")
    assert len(parts) == 500
    return sum(parts)
"""
FAN_OUT = """
import tasks
run = tasks.join.delay(tasks.part.delay_many([(n,) for n in range(500)]))
print(json.dumps(run.result(50)))
"""


def test_a_join_runs_once_with_all_parts_although_workers_are_killed(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    workers = [place.serve("tasks.py", "-c", "4", JTASK_LEASE="2") for _ in range(3)]
    for worker in workers:
        worker.is_ready()
    waiting = place.start_python(FAN_OUT)
    for worker, already in zip(workers[:2], (100, 300), strict=True):
        eventually(lambda target=already: len(place.marks()) > target)
        worker.kill()
    assert waiting.answer() == sum(range(500))
    assert place.marks().count("join") == 1
    assert workers[2].stop() == 0


def test_a_join_runs_once_with_all_parts_although_the_server_is_killed(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    workers = [place.serve("tasks.py", "-c", "4", JTASK_LEASE="2") for _ in range(2)]
    for worker in workers:
        worker.is_ready()
    waiting = place.start_python(FAN_OUT)
    for already in (100, 300):
        eventually(lambda target=already: len(place.marks()) > target)
        place.kill_server()
    assert waiting.answer() == sum(range(500))
    assert place.marks().count("join") == 1
    for worker in workers:
        assert worker.stop() == 0


def test_a_run_that_waits_outlives_the_restart_of_everything(place: Any, eventually: Any) -> None:
    place.write("tasks.py", TASKS)
    joins = place.serve("tasks.py:join", JTASK_LEASE="2")
    joins.is_ready()
    run_id = place.ask(
        """
        import tasks
        run = tasks.join.delay(tasks.part.delay_many([(n,) for n in range(500)]))
        import time
        while "waits for run" not in run.state.message:
            time.sleep(0.01)
        print(json.dumps(run.run_id))
        """
    )
    joins.kill()
    place.kill_server()
    parts = place.serve("tasks.py:part", "-c", "4")
    parts.is_ready()
    eventually(lambda: len(place.marks()) == 500)
    again = place.serve("tasks.py:join")
    assert place.result(run_id)["result"] == sum(range(500))
    assert place.marks().count("join") == 1
    for worker in (parts, again):
        assert worker.stop() == 0


DIES_ONCE_PARKED = """
import time
from pathlib import Path
from jtask import task
from jtask_nats.queues.deliveries import NatsDelivery

park = NatsDelivery.park

async def park_and_die(self, *about):
    await park(self, *about)
    os.kill(os.getpid(), 9)

if "DIES" in os.environ:
    NatsDelivery.park = park_and_die

@task(queue="parts")
def part() -> int:
    mark("part")
    while not Path("go").exists():
        time.sleep(0.01)
    return 7

@task(queue="joins")
def join(part: int) -> int:
    return part
"""


def test_a_run_is_woken_although_its_worker_has_died_as_soon_as_it_was_parked(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", DIES_ONCE_PARKED)
    place.serve("tasks.py:part", JTASK_LEASE="2").is_ready()
    dying = place.serve("tasks.py:join", JTASK_LEASE="2", DIES="1")
    dying.is_ready()
    waiting = place.start_python(
        "import tasks\nprint(json.dumps(tasks.join.delay(tasks.part.delay()).result(50)))\n"
    )
    assert dying.wait() == -9
    eventually(lambda: place.marks() == ["part"])
    (place.folder / "go").touch()
    place.serve("tasks.py:join", JTASK_LEASE="2").is_ready()
    assert waiting.answer() == 7
