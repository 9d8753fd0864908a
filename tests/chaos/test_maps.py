"""Many runs that one call stores in the background, while the caller is killed."""

from typing import Any

COUNT = 5000
TASKS = """
from jtask import runtime, task

@task(queue="parts", idempotency_key="part-{n}")
def part(n: int) -> int:
    mark(f"part {n}")
    return n

def key_in_run(call, parameters):
    return f"{runtime.run_id}-{parameters['n']}"

@task(queue="maps")
def spread(count: int) -> int:
    tell_of_groups()
    runs = part.with_options(idempotency_key=key_in_run).map(range(count), deferred=True)
    return len(set(run.run_id for run in runs))

def tell_of_groups():
    from jtask.client import get_client

    runs = get_client().broker.runs
    store = runs.enqueue

    async def enqueue(messages):
        await store(messages)
        print("stored a group", flush=True)

    runs.enqueue = enqueue
"""
MAP = f"""
import tasks
tasks.tell_of_groups()
runs = tasks.part.map(range({COUNT}), deferred=True)
print(json.dumps(len(set(run.run_id for run in runs))))
"""
ALL = sorted(f"part {n}" for n in range(COUNT))


def test_a_map_whose_process_is_killed_goes_on_where_it_was(place: Any, eventually: Any) -> None:
    place.write("tasks.py", TASKS)
    first = place.start_python(MAP)
    first.says("stored a group", 2)
    first.kill()
    assert "stored a group\n" * 5 not in first.log
    assert place.start_python(MAP).answer() == COUNT
    worker = place.serve("tasks.py:part", "-c", "50")
    eventually(lambda: len(place.marks()) >= COUNT)
    assert worker.stop() == 0
    assert sorted(place.marks()) == ALL


def test_a_map_in_a_run_whose_worker_is_killed_goes_on_where_it_was(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    first = place.serve("tasks.py:spread", JTASK_LEASE="2")
    run_id = place.enqueue("tasks.py:spread", str(COUNT))
    first.says("stored a group", 2)
    first.kill()
    assert "stored a group\n" * 5 not in first.log
    worker = place.serve("tasks.py", "-c", "50", JTASK_LEASE="2")
    assert place.result(run_id)["result"] == COUNT
    eventually(lambda: len(place.marks()) >= COUNT)
    assert worker.stop() == 0
    assert sorted(place.marks()) == ALL
