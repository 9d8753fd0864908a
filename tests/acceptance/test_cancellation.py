"""Cancel runs of real workers, and kill whoever takes part."""

import json
import os
import signal
import sys
from typing import Any

TASKS = """
import asyncio, time
from jtask import runtime, task
from jtask.errors import RunCancelled

@task(queue="work", tags=["slow"])
def patient(n: int) -> int:
    mark(f"begun {n}")
    while not runtime.cancelled:
        time.sleep(0.01)
    raise RunCancelled(runtime.cancelled)

@task(queue="work", tags=["slow"])
async def sleepy(n: int) -> int:
    mark(f"begun {n}")
    await asyncio.sleep(3600)
    return n

@task(queue="work")
def deaf_at_first(n: int) -> int:
    mark(f"begun {n}")
    while len(open(os.environ["MARKS"]).read().split()) == 2 or not runtime.cancelled:
        time.sleep(0.01)
    raise RunCancelled(runtime.cancelled)
"""


def cancelled(place: Any, *arguments: str) -> dict[str, str]:
    """Run `jtask cancel` and return the answer of each run."""
    done = place.jtask("cancel", *arguments, "--json")
    assert done.stdout, done.stderr
    return {answer["run_id"]: answer["result"] for answer in json.loads(done.stdout)}


def test_the_program_cancels_what_waits_and_what_executes(place: Any, eventually: Any) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py", "-c", "2", "--prefetch", "1")
    names = ("patient", "sleepy")
    executing = place.ask(
        f"""
        import tasks
        runs = [getattr(tasks, name).delay(n) for n, name in enumerate({names})]
        print(json.dumps([run.run_id for run in runs]))
        """
    )
    eventually(lambda: len(place.marks()) == 2)
    waiting = place.ask(
        "import tasks; print(json.dumps([tasks.patient.delay(n).run_id for n in (2, 3)]))"
    )
    answers = cancelled(place, "--tag", "slow", "--yes")
    assert answers == {
        executing[0]: "interrupted",
        executing[1]: "interrupted",
        waiting[0]: "never starts",
        waiting[1]: "never starts",
    }
    ends = place.ask(
        f"""
        from jtask import get_run
        runs = [get_run(run_id) for run_id in {executing + waiting}]
        print(json.dumps([(run.wait(30), run.state.name, run.state.message) for run in runs]))
        """
    )
    assert ends == [[True, "Cancelled", "cancelled by `jtask cancel`"]] * 4
    assert sorted(place.marks()) == ["begun 0", "begun 1"]
    said = place.jtask("cancel", executing[0])
    assert said.stdout == f"{executing[0]}  already over (Cancelled)\n"
    assert worker.stop() == 0


def test_the_program_asks_before_it_cancels_many_and_says_when_it_finds_none(place: Any) -> None:
    place.write("tasks.py", TASKS)
    run_id = place.enqueue("tasks.py:patient", "1")
    refused = place.jtask("cancel", "--queue", "work")
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert place.jtask("cancel").returncode == 2
    assert place.jtask("cancel", run_id, "--queue", "work").returncode == 2
    assert cancelled(place, "--task", "sleepy", "--yes") == {}
    assert cancelled(place, "--task", "patient", "--queue", "work", "--yes") == {
        run_id: "never starts"
    }
    unknown = place.ask("from jtask.ids import RunIds; print(json.dumps(RunIds().new()))")
    said = place.jtask("cancel", unknown)
    assert (said.returncode, said.stdout) == (1, f"{unknown}  not found\n")


def test_a_run_whose_worker_is_killed_while_it_is_cancelled_does_not_come_back(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    first = place.serve("tasks.py", JTASK_LEASE="1")
    run_id = place.enqueue("tasks.py:deaf_at_first", "1")
    eventually(lambda: place.marks() == ["begun 1"])
    assert cancelled(place, run_id) == {run_id: "interrupted"}
    first.kill()
    second = place.serve("tasks.py", JTASK_LEASE="1")
    end = place.result(run_id)
    assert (end["state"], end["message"]) == ("Cancelled", "cancelled by `jtask cancel`")
    second.kill()


def test_a_run_whose_caller_is_killed_while_it_cancels_is_ended_by_a_worker(place: Any) -> None:
    place.write("tasks.py", TASKS)
    place.write(
        "dying.py",
        """
        import os, sys, time
        from types import SimpleNamespace
        from jtask.client import cancel_requests
        from jtask.client import get_client, get_run

        client = get_client()
        whole = client.broker.runs.cancel

        async def taken_off_and_dead(run_id):
            assert await whole(run_id)
            os._exit(9)

        # As if it had begun a minute ago: a worker waits a little before it believes in a death.
        cancel_requests.time = SimpleNamespace(time=lambda: time.time() - 60)
        client.broker.runs.cancel = taken_off_and_dead
        get_run(sys.argv[1]).cancel("by a dying caller")
        """,
    )
    run_id = place.enqueue("tasks.py:sleepy", "1", "--delay", "1h")
    assert place.start(sys.executable, "dying.py", run_id).wait() == 9
    worker = place.serve("tasks.py", JTASK_LEASE="1")
    end = place.result(run_id)
    assert (end["state"], end["message"]) == ("Cancelled", "by a dying caller")
    assert place.marks() == []
    assert worker.stop() == 0


BUSY = """
import ctypes
from jtask import task

# As a long call into C does, and unlike time.sleep, it keeps the interpreter's lock.
block = ctypes.PyDLL(None).usleep

@task
def busy() -> None:
    mark("begun")
    for _ in range(60):
        block(300_000)  # microseconds
    mark("ended")
"""


def test_a_run_whose_worker_is_too_busy_to_answer_at_once_is_not_said_never_to_start(
    place: Any, eventually: Any
) -> None:
    place.write("busy.py", BUSY)
    worker = place.serve("busy.py")
    run_id = place.enqueue("busy.py:busy")
    eventually(lambda: place.marks() == ["begun"])
    assert cancelled(place, run_id)[run_id] in ("interrupted", "already over")
    end = place.result(run_id)
    assert (end["state"], end["message"]) == ("Cancelled", "cancelled by `jtask cancel`")
    assert worker.stop() == 0
    assert place.marks() == ["begun"]


HOOKED = """
import os
from jtask import task

def tell(task, run, state):
    mark(f"told {os.getpid()} {run.run_id}")

@task(queue="hooked", on_cancellation=[tell])
def hooked(n: int) -> int:
    return n
"""


def test_hooks_are_called_by_the_program_if_it_loads_the_code_else_by_a_worker(
    place: Any, eventually: Any
) -> None:
    place.write("hooks.py", HOOKED)
    here, there = (place.enqueue("hooks.py:hooked", n, "--delay", "1h") for n in "12")
    key = place.ask("import hooks; print(json.dumps(hooks.hooked.key))")
    assert place.jtask("cancel", "--task", "other", "--yes").stderr == "no runs\n"
    assert cancelled(place, there) == {there: "never starts"}
    assert place.marks() == []
    assert cancelled(place, "--task", "hooks.py:hooked", "--yes") == {here: "never starts"}
    assert [mark.split()[2] for mark in place.marks()] == [here]
    worker = place.serve("hooks.py")
    eventually(lambda: len(place.marks()) == 2)
    assert place.marks()[1] == f"told {worker.pid} {there}"
    last = place.enqueue("hooks.py:hooked", "3", "--delay", "1h")
    assert cancelled(place, "--task", key, "--yes") == {last: "never starts"}
    eventually(lambda: len(place.marks()) == 3)
    assert place.marks()[2] == f"told {worker.pid} {last}"
    assert worker.stop() == 0


def test_a_server_that_is_killed_while_many_runs_are_cancelled_leaves_none_without_an_end(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    assert place.jtask("server", "start").returncode == 0
    server = json.loads(place.jtask("server", "status", "--json").stdout)["pid"]
    caller = place.start_python(
        """
        import tasks
        from jtask.errors import BrokerError
        from jtask_cancellation.bulk import cancel_many

        runs = tasks.sleepy.delay_many([(n,) for n in range(1000)])
        tasks.mark("sent")
        try:
            cancel_many((run.run_id for run in runs), "in the middle")
        except BrokerError:
            print("interrupted")
        tasks.mark(" ".join(run.run_id for run in runs))
        """
    )
    eventually(lambda: place.marks() == ["sent"])
    os.kill(server, signal.SIGKILL)
    assert caller.wait() == 0
    run_ids = place.marks()[-1].split()
    assert cancelled(place, *run_ids).keys() == set(run_ids)
    ends = place.ask(
        f"""
        from jtask import get_run
        runs = [get_run(run_id) for run_id in {run_ids}]
        print(json.dumps([run.wait(30) and run.state.name for run in runs]))
        """
    )
    assert ends == ["Cancelled"] * 1000
    assert not [mark for mark in place.marks() if mark.startswith("begun")]
