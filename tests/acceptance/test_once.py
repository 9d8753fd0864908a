"""Keys among real processes: many callers, workers that are killed, the command line."""

import json
from itertools import pairwise
from typing import Any

TASKS = """
import os, time
from jtask import runtime, task

@task(unique="{key}", queue="work")
def build(key: str, seconds: float = 0.0) -> str:
    mark(f"{runtime.run_id} {runtime.attempt}")
    time.sleep(seconds)
    return key

@task(idempotency_key="order-{order}", queue="work")
def charge(order: int) -> str:
    mark(f"{runtime.run_id} {order}")
    return f"{order} by {runtime.run_id}"

@task(debounce=1, debounce_key="{document}", queue="work")
def index(document: str, text: str) -> str:
    mark(f"{document} {text}")
    return text
"""
# All begin at the same moment, by a file that the test makes.
MANY_CALLERS = """
import os, threading, time
import tasks
from jtask.client import get_client
from jtask.errors import NotUnique

get_client()
accepted, refused = [], []
barrier = threading.Barrier(THREADS)

def call():
    barrier.wait()
    began = time.time()
    try:
        accepted.append((tasks.CALL.run_id, began, time.time()))
    except NotUnique as error:
        refused.append(error.run_id)

open(f"ready-{os.getpid()}", "w").close()
while not os.path.exists("go"):
    time.sleep(0.005)
threads = [threading.Thread(target=call) for _ in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps([accepted, refused]))
"""
PROCESSES, THREADS = 8, 25
QUIET = 1  # seconds without a call, after which a debounced run starts


def call_from_many_processes(place: Any, eventually: Any, call: str) -> list[tuple[Any, Any]]:
    """Return what was accepted and refused in each process."""
    program = MANY_CALLERS.replace("CALL", call).replace("THREADS", str(THREADS))
    callers = [place.start_python(program) for _ in range(PROCESSES)]
    eventually(lambda: len(list(place.folder.glob("ready-*"))) == PROCESSES)
    (place.folder / "go").touch()
    return [tuple(caller.answer()) for caller in callers]


def call(place: Any, code: str) -> Any:
    """Make a call in a process of its own; return the run, or the one that is there instead."""
    return place.ask(
        f"""
        import tasks
        from jtask.errors import NotUnique
        try:
            print(json.dumps({{"run": tasks.{code}.run_id}}))
        except NotUnique as error:
            print(json.dumps({{"refused": error.run_id}}))
        """
    )


def test_of_two_hundred_calls_at_once_one_is_accepted(place: Any, eventually: Any) -> None:
    place.write("tasks.py", TASKS)
    answers = call_from_many_processes(place, eventually, "build.delay('a', 1.0)")
    (run_id,) = [one for accepted, _ in answers for one, _, _ in accepted]
    refused = [one for _, others in answers for one in others]
    assert len(refused) == PROCESSES * THREADS - 1
    assert set(refused) == {run_id}
    worker = place.serve("tasks.py")
    assert place.result(run_id)["result"] == "a"
    assert place.marks() == [f"{run_id} 1"]
    assert set(call(place, "build.delay('a')")) == {"run"}
    assert worker.stop() == 0


def test_two_hundred_calls_at_once_with_an_idempotency_key_are_one_run(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py")
    answers = call_from_many_processes(place, eventually, "charge.delay(17)")
    got = [one for accepted, _ in answers for one, _, _ in accepted]
    assert len(got) == PROCESSES * THREADS
    (run_id,) = set(got)
    assert place.result(run_id)["result"] == f"17 by {run_id}"
    # Also from another process, after the end.
    again = place.ask(
        "import tasks; run = tasks.charge.delay(17); print(json.dumps(run.result(30)))"
    )
    assert again == f"17 by {run_id}"
    assert place.marks() == [f"{run_id} 17"]
    assert worker.stop() == 0


def test_a_key_stays_taken_while_a_run_is_executed_again_and_is_free_once_it_has_crashed(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    env = {"JTASK_LEASE": "1", "JTASK_MAX_CRASHES": "2"}
    run_id = call(place, "build.delay('a', 600.0)")["run"]
    for attempt in (1, 2):
        victim = place.serve("tasks.py", **env)
        eventually(lambda count=attempt: len(place.marks()) == count)
        assert call(place, "build.delay('a')") == {"refused": run_id}
        victim.kill()
        assert call(place, "build.delay('a')") == {"refused": run_id}
    survivor = place.serve("tasks.py", **env)
    assert place.result(run_id)["state"] == "Crashed"
    other = call(place, "build.delay('a')")["run"]
    assert place.result(other)["result"] == "a"
    assert survivor.stop() == 0


def test_a_caller_that_is_killed_between_key_and_run_costs_nothing_but_a_moment(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    victim = place.start_python(
        """
        import os, signal, tasks
        from jtask.client import get_client

        async def die(messages):
            os.kill(os.getpid(), signal.SIGKILL)

        get_client().broker.runs.enqueue = die
        tasks.charge.delay(17)
        """
    )
    assert victim.wait() == -9
    run_id = call(place, "charge.delay(17)")["run"]
    worker = place.serve("tasks.py")
    assert place.result(run_id)["result"] == f"17 by {run_id}"
    assert call(place, "charge.delay(17)") == {"run": run_id}
    assert place.marks() == [f"{run_id} 17"]
    assert worker.stop() == 0


def test_a_burst_of_several_processes_is_one_run_with_the_latest_text(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py")
    worker.is_ready()
    answers = call_from_many_processes(place, eventually, "index.delay('readme', 'a')")
    last = call(place, "index.delay('readme', 'b')")["run"]
    calls: dict[str, list[tuple[float, float]]] = {}
    for run_id, began, ended in (one for accepted, _ in answers for one in accepted):
        calls.setdefault(run_id, []).append((began, ended))
    assert place.result(last)["result"] == "b"
    # On a machine so busy that it was quiet amid the calls, they are several bursts.
    bursts = sorted(calls.values(), key=lambda burst: min(ended for _, ended in burst))
    for burst, later in pairwise(bursts):
        assert min(ended for _, ended in later) - max(began for began, _ in burst) > QUIET
    # To start a process takes a while, in which it may have been quiet.
    assert place.marks() == ["readme a"] * len(calls.keys() - {last}) + ["readme b"]
    assert worker.stop() == 0


def test_the_program_prints_the_run_that_is_there_or_says_that_it_is_not_unique(
    place: Any,
) -> None:
    place.write("tasks.py", TASKS)
    first = place.enqueue("tasks.py:charge", "17")
    assert place.enqueue("tasks.py:charge", "17") == first
    run_id = place.enqueue("tasks.py:build", "a")
    again = place.jtask("enqueue", "tasks.py:build", "a")
    assert again.returncode == 1
    assert again.stdout == ""
    assert run_id in again.stderr
    assert len(again.stderr.splitlines()) == 1
    # Without the code, the worker looks.
    key = json.loads(place.jtask("enqueue", "tasks.py:build", "b", "--json").stdout)["task"]
    stranger = place.enqueue(key, "key=a", "--queue", "work")
    assert place.jtask("cancel", run_id).returncode == 0
    worker = place.serve("tasks.py")
    assert place.result(stranger)["result"] == "a"
    assert worker.stop() == 0
