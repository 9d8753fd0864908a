"""A limit holds, and none of its slots is lost, while workers and the server die."""

import json
import random
import time
from typing import Any

import pytest

# A slot of the limit is a file that only one process at a time can lock; the lock of a process that
# is killed is gone with it.
TASKS = """
import fcntl, os, time
from jtask import runtime, task

LIMIT = 4

def hold_one_of(count):
    for number in range(count):
        file = os.open(f"{os.environ['MARKS']}.{number}", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
        else:
            return file
    mark("exceeded")

@task(limit=LIMIT)
def work(number: int) -> int:
    file = hold_one_of(LIMIT)
    time.sleep(0.02)
    if file is not None:
        os.close(file)
    return number

@task(limit=1)
def in_turn(number: int) -> int:
    while number == 0 and not os.path.exists("go-on"):
        time.sleep(0.01)
    mark(f"{number}")
    return number
"""
LEASE = "1"


def test_a_limit_is_never_exceeded_although_workers_are_killed(
    place: Any, eventually: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, workers, seed = 600, 3, random.randrange(10**6)
    with capsys.disabled():
        print(f" [seed {seed}] ", end="")
    chance = random.Random(seed)
    place.write("tasks.py", TASKS)
    place.env["JTASK_LEASE"] = LEASE
    living = [place.serve("tasks.py", "-c", "8") for _ in range(workers)]
    for worker in living:
        worker.is_ready()
    waiter = place.start_python(
        f"""
        import tasks
        runs = tasks.work.delay_many([(n,) for n in range({runs})])
        print(json.dumps([run.result(50) for run in runs]))
        """
    )
    for _ in range(6):
        time.sleep(chance.uniform(0.2, 0.8))
        living.pop(chance.randrange(workers)).kill()
        living.append(place.serve("tasks.py", "-c", "8"))
    assert waiter.answer() == list(range(runs))
    assert place.marks() == []
    assert_no_slot_is_taken(place, eventually, "limit-task-work")
    for worker in living:
        assert worker.stop() == 0


def test_runs_that_wait_are_quiet_and_go_in_turn_after_the_death_of_everything(
    place: Any, eventually: Any
) -> None:
    count = 300
    place.write("tasks.py", TASKS)
    place.env["JTASK_LEASE"] = LEASE
    worker = place.serve("tasks.py", "-c", "8")
    worker.is_ready()
    run_ids = place.ask(
        f"""
        import tasks, time
        runs = tasks.in_turn.delay_many([(n,) for n in range({count})])
        # It comes by itself after a lease, once.
        while "the limit of" not in str(runs[-1].state.message):
            time.sleep(0.05)
        print(json.dumps([run.run_id for run in runs]))
        """
    )
    eventually(lambda: parked(place) == count - 1)
    before = stored(place)
    time.sleep(4 * float(LEASE))
    assert (stored(place), parked(place)) == (before, count - 1)
    worker.kill()
    place.kill_server()
    heirs = [place.serve("tasks.py", "-c", "8") for _ in range(2)]
    (place.folder / "go-on").touch()
    ends = place.ask(
        f"""
        from jtask import get_run
        print(json.dumps([get_run(run_id).result(50) for run_id in {run_ids}]))
        """
    )
    assert ends == list(range(count))
    order = [int(mark) for mark in place.marks()]
    assert sorted(order) == list(range(count))
    # The one that was lost with its worker has lost its turn too.
    order.remove(0)
    assert max(abs(at - number) for at, number in enumerate(order, 1)) <= count * 0.05, order
    assert_no_slot_is_taken(place, eventually, "limit-task-in_turn")
    for heir in heirs:
        assert heir.stop() == 0


def parked(place: Any) -> int:
    listed = json.loads(place.jtask("queues", "ls", "--json").stdout)
    return sum(queue["delayed"] for queue in listed)


def stored(place: Any) -> int:
    """How many messages of runs were ever stored: each that waits anew is one."""
    found: int = place.ask(
        """
        from jtask.client import get_client
        client = get_client()
        info = client.io.run(client.broker._connection.api("STREAM.INFO.JTASK_default"))
        print(json.dumps(info["state"]["last_seq"]))
        """
    )
    return found


def assert_no_slot_is_taken(place: Any, eventually: Any, name: str) -> None:
    def taken() -> list[str]:
        found: list[str] = place.ask(
            f"""
            from jtask.client import get_client
            client = get_client()
            names = [one.holder for one in client.io.run(client.broker.slots.holders({name!r}))]
            print(json.dumps(names))
            """
        )
        return found

    eventually(lambda: taken() == [])
