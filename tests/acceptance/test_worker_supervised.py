"""Several worker processes under a supervisor: death, restart, reload, stop."""

import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
from processes import freeze

TASKS = """
import time
from jtask import task
from jtask.task_worker import serve

@task
def work(number: int) -> int:
    mark(f"ran {number}")
    time.sleep(0.02)
    return os.getpid()

@task
def slow(name: str) -> str:
    mark(f"began {name}")
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and not os.path.exists(name):
        time.sleep(0.01)
    return f"{name} done"

@task
def pill() -> None:
    mark("pill")
    os.kill(os.getpid(), 9)

@task
def deaf() -> None:
    mark("deaf")
    import ctypes
    ctypes.PyDLL(None).sleep(300)  # holds the interpreter

if __name__ == "__main__":
    serve(work, slow, processes=2)
"""

Eventually = Callable[[Callable[[], Any]], Any]
IsAlive = Callable[[int], bool]


def test_a_killed_worker_is_restarted_and_no_run_is_lost(
    place: Any, eventually: Eventually
) -> None:
    place.write("tasks.py", TASKS)
    program = place.serve("tasks.py", "-p", "2", "-c", "2", JTASK_LEASE="1")
    program.is_ready(2)
    run_ids = place.ask(
        """
        import tasks
        print(json.dumps([run.run_id for run in tasks.work.delay_many([(i,) for i in range(100)])]))
        """
    )
    eventually(lambda: len(place.marks()) > 5)
    victim = program.children()[0]
    os.kill(victim, signal.SIGKILL)
    values = place.ask(
        f"""
        from jtask import get_run
        print(json.dumps([get_run(i).result(30) for i in {run_ids}]))
        """
    )
    assert len(values) == 100
    program.says(f"worker {victim} was killed by SIGKILL: starting another in 0.1 seconds")
    program.is_ready(3)
    assert len(program.children()) == 2
    assert victim not in program.children()
    assert program.stop() == 0


def test_serve_with_processes_starts_them_from_a_program_of_ones_own(place: Any) -> None:
    place.write("tasks.py", TASKS)
    program = place.start(sys.executable, "tasks.py")
    program.is_ready(2)
    assert len(program.children()) == 2
    assert place.result(place.enqueue("tasks.py:work", "1"))["result"] in program.children()
    assert program.stop() == 0


def test_worker_processes_import_with_the_path_of_a_single_one(
    place: Any, eventually: Eventually
) -> None:
    # It would be imported in place of the standard library's.
    place.write("email.py", "raise SystemExit('executed')")
    place.write("paths.py", "import sys\nfrom jtask import task\nmark(sys.path)\nout = task(print)")
    for more in ([], ["-p2"]):
        served = place.serve("paths.py", *more)
        served.is_ready(2 if more else 1)
        served.stop()
    single, *supervised = place.marks()
    assert supervised == [single, single]


def test_serve_with_processes_outside_of_main_is_refused_instead_of_starting_more_and_more(
    place: Any,
) -> None:
    place.write("tasks.py", TASKS.replace('if __name__ == "__main__":', "if True:"))
    program = place.start(sys.executable, "tasks.py")
    assert program.wait() == 2
    assert 'move the call under if __name__ == "__main__"' in program.log
    assert "Traceback" not in program.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_to_the_supervisor_lets_every_worker_finish_its_runs(
    place: Any, eventually: Eventually, number: int
) -> None:
    place.write("tasks.py", TASKS)
    program = place.serve("tasks.py", "-p", "2", "-c", "1", "--prefetch", "0", JTASK_LEASE="300")
    program.is_ready(2)
    run_ids = [place.enqueue("tasks.py:slow", name) for name in ("one", "two")]
    eventually(lambda: sorted(place.marks()) == ["began one", "began two"])
    program.send(number)
    program.says("is stopping", 2)
    for name in ("one", "two"):
        (place.folder / name).touch()
    assert program.wait() == 0
    assert [place.result(i)["result"] for i in run_ids] == ["one done", "two done"]
    assert len(place.marks()) == 2


def test_a_second_signal_to_the_supervisor_makes_the_workers_hand_back_at_once(
    place: Any, eventually: Eventually
) -> None:
    place.write("tasks.py", TASKS)
    program = place.serve("tasks.py", "-p", "2", JTASK_LEASE="300")
    run_id = place.enqueue("tasks.py:slow", "one")
    eventually(lambda: place.marks() == ["began one"])
    program.is_ready(2)
    program.send(signal.SIGTERM)
    program.says("is stopping", 2)
    program.send(signal.SIGTERM)
    assert program.wait() == 0
    (place.folder / "one").touch()
    place.serve("tasks.py")
    assert place.result(run_id)["result"] == "one done"
    assert place.marks() == ["began one"] * 2


def test_ctrl_c_while_a_worker_still_imports_shows_neither_traceback_nor_warning(
    place: Any, eventually: Eventually
) -> None:
    place.write("tasks.py", "mark('imports')\nwhile True: pass")
    program = place.serve("tasks.py", "-p", "2")
    eventually(place.marks)
    assert program.stop(signal.SIGINT) == 0
    assert program.log == ""


def test_workers_end_when_their_supervisor_is_killed(
    place: Any, eventually: Eventually, is_alive: IsAlive
) -> None:
    place.write("tasks.py", TASKS)
    program = place.serve("tasks.py", "-p", "2")
    program.is_ready(2)
    workers = program.children()
    assert len(workers) == 2
    program.kill()
    eventually(lambda: not any(is_alive(pid) for pid in workers))
    assert program.log.count("the supervisor is gone") == 2


@pytest.mark.skipif(sys.platform != "linux", reason="there is no lease guard")
def test_a_worker_that_cannot_hear_that_its_supervisor_was_killed_is_ended(
    place: Any, eventually: Eventually, is_alive: IsAlive
) -> None:
    place.write("tasks.py", TASKS)
    program = place.serve("tasks.py", "-p", "2", "--shutdown-timeout", "1")
    program.is_ready(2)
    workers = program.children()
    place.enqueue("tasks.py:deaf")
    eventually(lambda: place.marks() == ["deaf"])
    program.kill()
    eventually(lambda: not any(is_alive(pid) for pid in workers))


def test_a_run_that_kills_its_worker_is_dead_lettered_and_its_neighbours_finish(
    place: Any,
) -> None:
    place.write("tasks.py", TASKS)
    pills, others = place.ask(
        """
        import tasks
        pills = [tasks.pill.delay(), tasks.pill.delay()]
        others = tasks.work.delay_many([(i,) for i in range(30)])
        print(json.dumps([[run.run_id for run in runs] for runs in (pills, others)]))
        """
    )
    program = place.serve("tasks.py", "-p", "2", "-c", "4", JTASK_LEASE="1")
    values = place.ask(
        f"""
        from jtask import get_run
        print(json.dumps([get_run(i).result(45) for i in {others}]))
        """
    )
    assert len(values) == 30
    ends = [place.result(run_id) for run_id in pills]
    assert [end["state"] for end in ends] == ["Crashed", "Crashed"]
    # Mostly 3 each; one that has a process of its own may lose its worker to the other one.
    last = re.compile(r"the run lost [34] workers, the last one a process of its own")
    assert all(last.search(end["message"]) for end in ends), ends
    assert place.marks().count("pill") <= 8
    letters = place.ask(
        """
        import asyncio
        from jtask.client import get_client

        async def letters(broker):
            while len(found := [letter.run_id async for letter in broker.dead_letters.read()]) < 2:
                await asyncio.sleep(0.05)
            return found

        client = get_client()
        print(json.dumps(client.io.run(letters(client.broker))))
        """
    )
    assert set(letters) == set(pills)
    program.says("workers, the last one a process of its own", 2)
    program.is_ready(2)
    assert program.stop() == 0


def test_a_start_that_fails_is_told_once_and_ends_the_supervisor(place: Any) -> None:
    place.write("tasks.py", "raise RuntimeError('no luck')")
    program = place.serve("tasks.py", "-p", "3")
    assert program.wait() == 2
    assert program.log.count("no luck") == 1
    assert "Traceback" not in program.log
    assert "starting another" not in program.log


def test_no_broker_at_the_start_ends_the_supervisor_with_3(place: Any) -> None:
    place.write("tasks.py", TASKS)
    nowhere = {"JTASK_URL": "nats://127.0.0.1:9", "JTASK_CONNECT_TIMEOUT": "0.5"}
    program = place.serve("tasks.py", "-p", "2", **nowhere)
    assert program.wait() == 3
    assert program.log.count("Error:") == 1


def test_a_worker_that_does_not_stop_is_killed(place: Any, eventually: Eventually) -> None:
    place.write("tasks.py", TASKS)
    code = """
from jtask.worker import supervisor
supervisor.STOP_MARGIN_SECONDS = 0.3
supervisor.supervise(["tasks.py"], 1, [], 0.0)
"""
    program = place.start(sys.executable, "-c", code)
    program.is_ready()
    [worker] = program.children()
    freeze(worker)
    assert program.stop() == 0
    assert f"worker {worker} does not stop: killing it" in program.log


def test_reload_serves_the_changed_code_after_the_runs_of_the_old_one_finish(
    place: Any, eventually: Eventually
) -> None:
    place.write("tasks.py", TASKS)
    program = place.serve("tasks.py", "--reload")
    run_id = place.enqueue("tasks.py:slow", "one")
    eventually(lambda: place.marks() == ["began one"])
    place.write("tasks.py", TASKS.replace("{name} done", "{name} anew"))
    program.says("reloading")
    program.says("is stopping")
    (place.folder / "one").touch()
    assert place.result(run_id)["result"] == "one done"
    program.is_ready(2)
    assert place.result(place.enqueue("tasks.py:slow", "one"))["result"] == "one anew"
    assert program.stop() == 0


def test_reload_survives_a_mistake_and_goes_on_once_it_is_mended(place: Any) -> None:
    place.write("tasks.py", TASKS + "\nsyntax error")
    program = place.serve("tasks.py", "--reload")
    program.says("waiting for a changed file")
    assert re.search(r"line \d+ of .*tasks\.py", program.log)
    place.write("tasks.py", TASKS)
    program.is_ready()
    assert program.stop() == 0
