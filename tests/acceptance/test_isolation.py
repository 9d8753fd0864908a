"""Tasks in child processes: limits that hold whatever the task does, deaths, signals."""

import os
import signal
from typing import Any

import pytest

TASKS = """
import ctypes, itertools, os, time
from jtask import runtime, task
from jtask.errors import SoftTimeout

def isolated(**options):
    return task(queue="isolated", isolation="process", **options)

@isolated(timeout_seconds=0.5)
def spin() -> None:
    while True:
        pass

@isolated(timeout_seconds=0.5)
def sleep_in_c() -> None:
    ctypes.PyDLL(None).sleep(60)  # holds the GIL

@isolated(timeout_seconds=0.5)
def compute_in_c() -> None:
    sum(itertools.repeat(0))  # holds the GIL, and does not look at signals

@isolated(timeout_seconds=0.5)
def swallow() -> None:
    while True:
        try:
            time.sleep(0.01)
        except BaseException:
            pass

@isolated(timeout_seconds=0.5)
def clean_up_when_cut() -> None:
    try:
        time.sleep(60)
    finally:
        mark("finally")

@isolated(soft_timeout_seconds=0.3, timeout_seconds=30)
def tidy() -> str:
    try:
        while True:
            try:
                time.sleep(60)
            except Exception:
                pass
    except SoftTimeout as error:
        return f"cleaned up: {error}"

@isolated(soft_timeout_seconds=0.3, timeout_seconds=30)
async def tidy_async() -> str:
    import asyncio
    try:
        await asyncio.sleep(60)
    except SoftTimeout as error:
        return f"cleaned up: {error}"
    return "undisturbed"

@isolated()
def die(how: str) -> None:
    if how == "exit":
        os._exit(3)
    if how == "raise":
        raise SystemExit("enough")
    os.kill(os.getpid(), 9)

@isolated()
def facts(colour: str = "", *, shade: int = 0) -> dict:
    return {"pid": os.getpid(), "run_id": runtime.run_id, "attempt": runtime.attempt,
            "tags": list(runtime.tags), "name": runtime.task_name,
            "parameters": runtime.task_run.parameters}

@isolated()
def length(text: str) -> int:
    return len(text)

@isolated()
def repeat(text: str, times: int) -> str:
    return text * times

@isolated()
def fail() -> None:
    raise LookupError("not here")

@isolated()
def linger() -> None:
    try:
        mark(f"pid {os.getpid()}")
        sum(itertools.repeat(0))
    finally:
        mark("finally")

@isolated()
def wait() -> None:
    try:
        mark(f"pid {os.getpid()}")
        time.sleep(60)
    finally:
        mark("finally")

@isolated()
async def wait_async() -> None:
    import asyncio
    try:
        mark(f"pid {os.getpid()}")
        await asyncio.sleep(60)
    finally:
        mark("finally")

@task(queue="isolated")
def worker_pid() -> int:
    return os.getpid()
"""


@pytest.fixture
def served(place: Any) -> Any:
    place.write("tasks.py", TASKS)
    place.serve("tasks.py", "-c", "2", JTASK_LEASE="1").is_ready()
    return place


def pid_in_marks(place: Any, eventually: Any) -> int:
    found = eventually(lambda: [m for m in place.marks() if m.startswith("pid ")])
    return int(found[-1].split()[1])


def test_a_child_is_ended_at_its_deadline_whatever_it_does(served: Any) -> None:
    answers = served.ask(
        """
        import tasks
        stuck = [tasks.spin, tasks.sleep_in_c, tasks.compute_in_c, tasks.swallow]
        runs = [task.delay() for task in stuck]
        after = tasks.length.delay("abc").result(timeout=30)
        errors = [run.result(timeout=30, raise_on_failure=False) for run in runs]
        print(json.dumps([after, [run.state.name for run in runs], [str(e) for e in errors],
                          [run.run_id for run in runs]]))
        """
    )
    after, states, errors, run_ids = answers
    assert after == 3
    assert states == ["TimedOut"] * 4
    assert errors == ["task run exceeded timeout of 0.5 seconds"] * 4
    functions = ["spin", "sleep_in_c", "compute_in_c", "swallow"]
    for run_id, function in zip(run_ids, functions, strict=True):
        shown = served.jtask("runs", "show", run_id).stdout
        assert "still executing after 0.25 seconds" in shown
        assert f"in {function}" in shown


def test_clean_up_is_executed_before_a_child_ends(served: Any) -> None:
    run_id = served.enqueue("tasks.py:clean_up_when_cut")
    assert served.result(run_id)["state"] == "TimedOut"
    assert served.marks() == ["finally"]


def test_a_soft_timeout_is_raised_in_the_child(served: Any) -> None:
    answers = served.ask(
        """
        import tasks
        runs = [tasks.tidy.delay(), tasks.tidy_async.delay()]
        print(json.dumps([[run.result(timeout=30), run.run_id] for run in runs]))
        """
    )
    for function, (value, run_id) in zip(["tidy", "tidy_async"], answers, strict=True):
        assert value == "cleaned up: task run exceeded soft timeout of 0.3 seconds"
        shown = served.jtask("runs", "show", run_id).stdout
        assert "still executing after 0.3 seconds" in shown
        assert f"in {function}" in shown


def test_a_child_that_dies_is_a_crash_and_the_next_run_has_another(served: Any) -> None:
    answers = served.ask(
        """
        import tasks
        from jtask.errors import RunCrashed
        ends = []
        for how in ("exit", "kill", "raise"):
            before = tasks.facts.delay().result(timeout=30)["pid"]
            run = tasks.die.delay(how)
            error = run.result(timeout=30, raise_on_failure=False)
            after = tasks.facts.delay().result(timeout=30)["pid"]
            assert isinstance(error, RunCrashed)
            ends.append([run.state.name, str(error)])
        print(json.dumps(ends))
        """
    )
    assert answers == [
        ["Crashed", "the run's process ended with exit code 3"],
        ["Crashed", "the run's process was killed by SIGKILL"],
        ["Crashed", "the task raised SystemExit: enough"],
    ]


def test_values_errors_and_facts_pass_between_worker_and_child(served: Any) -> None:
    answers = served.ask(
        """
        import tasks
        from jtask import tags
        with tags("blue"):
            run = tasks.facts.delay("light", shade=2)
        facts = run.result(timeout=30)
        error = tasks.fail.delay().result(timeout=30, raise_on_failure=False)
        print(json.dumps({
            "own": facts["pid"] != tasks.worker_pid.delay().result(timeout=30),
            "same": facts["pid"] == tasks.facts.delay().result(timeout=30)["pid"],
            "run_id": facts["run_id"] == run.run_id,
            "facts": [facts["attempt"], facts["tags"], facts["name"], facts["parameters"]],
            "error": repr(error),
            "cause": "in fail" in str(error.__cause__),
            "length": tasks.length.delay("x" * 5_000_000).result(timeout=30),
            "large": len(tasks.repeat.delay("ab", 2_500_000).result(timeout=30)),
        }))
        """
    )
    assert answers == {
        "own": True,
        "same": True,
        "run_id": True,
        "facts": [1, ["blue"], "facts", {"colour": "light", "shade": 2}],
        "error": "LookupError('not here')",
        "cause": True,
        "length": 5_000_000,
        "large": 5_000_000,
    }


def test_a_child_that_is_stuck_in_c_dies_with_a_worker_that_is_killed(
    place: Any, eventually: Any, is_alive: Any
) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py", "-c", "1")
    worker.is_ready()
    place.enqueue("tasks.py:linger")
    child = pid_in_marks(place, eventually)
    worker.kill()
    eventually(lambda: not is_alive(child))


def test_a_worker_that_stops_ends_its_children_and_hands_their_runs_back(
    place: Any, eventually: Any, is_alive: Any
) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py", "-c", "1", "--shutdown-timeout", "0.1")
    worker.is_ready()
    run_id = place.enqueue("tasks.py:wait")
    child = pid_in_marks(place, eventually)
    assert worker.stop(signal.SIGTERM) == 0
    assert "handed back 1 run" in worker.log
    assert not is_alive(child)
    assert "finally" in place.marks()
    assert "handed back" in place.jtask("runs", "show", run_id).stdout


@pytest.mark.parametrize("name", ["linger", "wait", "wait_async"])
def test_a_cancelled_run_is_ended_after_a_grace(place: Any, name: str) -> None:
    place.write("tasks.py", TASKS)
    answers = place.ask(
        f"""
        import os, pathlib, time
        os.environ["JTASK_URL"] = "memory://here"
        import tasks
        from jtask.client import get_client
        from jtask.testing import start_worker

        worker = start_worker(tasks.{name}, tasks.length, concurrency=1).info.worker
        run = tasks.{name}.delay()
        marks = pathlib.Path(os.environ["MARKS"])
        while not (marks.exists() and marks.read_text().endswith("\\n")):
            time.sleep(0.01)

        async def cancel():
            return worker.cancel(run.run_id, "no longer wanted")

        answer = get_client().io.run(cancel())
        error = run.result(timeout=30, raise_on_failure=False)
        after = tasks.length.delay("abc").result(timeout=30)
        print(json.dumps([answer.name, run.state.name, type(error).__name__, str(error), after]))
        """
    )
    assert answers == ["INTERRUPTED", "Cancelled", "RunCancelled", "no longer wanted", 3]
    child = int(place.marks()[0].split()[1])
    assert not os.path.exists(f"/proc/{child}")
    assert ("finally" in place.marks()) is (name != "linger")


def test_ctrl_c_is_the_workers_to_handle(place: Any, eventually: Any, is_alive: Any) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py", "-c", "1")
    worker.is_ready()
    place.enqueue("tasks.py:wait")
    child = pid_in_marks(place, eventually)
    assert os.getpgid(child) == child
    os.kill(child, signal.SIGINT)
    assert is_alive(child)
