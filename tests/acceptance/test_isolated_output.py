"""What tasks print, log, leave open and fork: nothing of it is lost with a process."""

import json
import os
import shlex
import signal
from typing import Any

import pytest
from processes import JTASK

TASKS = """
import atexit, asyncio, concurrent.futures, logging, multiprocessing, os, threading, time
from jtask import task

log = logging.getLogger("shop.images")
own = logging.getLogger("jtask.task.talk")
held = None

def square(number: int) -> int:
    return number * number

@task
def say(text: str) -> None:
    print(text)

@task(isolation="process")
def talk(text: str) -> None:
    print(text)
    print("the end", end="")
    log.info("half done")
    own.warning("of its own logger")

@task(isolation="process")
def leave() -> int:
    global held
    held = open(os.environ["MARKS"], "a")
    held.write("still in the buffer\\n")
    atexit.register(lambda: print("said at exit"))
    return os.getpid()

@task(isolation="process")
def leave_thread() -> int:
    threading.Thread(target=time.sleep, args=(3600,)).start()
    return os.getpid()

@task(isolation="process", timeout_seconds=0.5)
def leave_late() -> None:
    atexit.register(lambda: mark("said at exit"))
    time.sleep(60)

@task(isolation="process", timeout_seconds=60)
def in_pool(method: str) -> list[int]:
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(square, [1, 2, 3])

@task(isolation="process", timeout_seconds=60)
async def in_pool_of_coroutine(method: str) -> list[int]:
    return await asyncio.to_thread(in_pool.fn, method)

@task(isolation="process", timeout_seconds=60)
def in_executor(method: str) -> list[int]:
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        return list(pool.map(square, [1, 2, 3]))

def signals() -> list[str]:
    import signal
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
    found = [signal.getsignal(number) for number in numbers]
    return [str(int(one)) if one in (0, 1) else str(one) for one in found]

@task(isolation="process", timeout_seconds=60)
def signals_of_fork() -> list[str]:
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("fork")
    ) as pool:
        return pool.submit(signals).result()

@task(isolation="process", timeout_seconds=60)
def signals_of_program() -> list[int]:
    import subprocess
    shown = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout
    lines = dict(line.split(":\\t", 1) for line in shown.splitlines() if ":\\t" in line)
    ignored = int(lines["SigIgn"], 16)
    return [number for number in (2, 10, 12, 15) if ignored >> (number - 1) & 1]
"""

BUFFERED = {"PYTHONUNBUFFERED": ""}
"""As Python buffers by default, whatever this test's own environment says."""


@pytest.fixture
def worker(place: Any) -> Any:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py", "-c", "1", **BUFFERED)
    worker.is_ready()
    return worker


@pytest.fixture
def piped(place: Any) -> Any:
    """A worker whose stdout is a pipe, in a real program's way."""
    place.write("tasks.py", TASKS)
    command = f"exec {shlex.quote(JTASK)} serve tasks.py -c 1 > >(cat)"
    worker = place.start("bash", "-c", command, **BUFFERED)
    worker.is_ready()
    return worker


def value_of(place: Any, name: str, **arguments: str) -> Any:
    named = [f"{key}={value}" for key, value in arguments.items()]
    answer = place.result(place.enqueue(f"tasks.py:{name}", *named))
    assert answer["state"] == "Completed", answer
    return answer["result"]


def test_what_a_plain_task_prints_is_seen_at_once(place: Any, piped: Any) -> None:
    value_of(place, "say", text="hello from a thread")
    piped.says("hello from a thread")


def test_what_an_isolated_task_prints_and_logs_is_seen_at_once(place: Any, piped: Any) -> None:
    run_id = place.enqueue("tasks.py:talk", "text=hello from a child")
    assert place.result(run_id)["state"] == "Completed"
    piped.says("hello from a child")
    piped.says("the end")
    piped.says(f"INFO [talk {run_id}] shop.images: half done")
    piped.says(f"WARNING [talk {run_id}] of its own logger")


def test_what_a_child_logs_has_the_form_and_the_level_of_its_worker(place: Any) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py", "--log-level", "warning", JTASK_LOG_FORMAT="json")
    run_id = place.enqueue("tasks.py:talk", "text=hello")
    assert place.result(run_id)["state"] == "Completed"
    worker.says("of its own logger")
    (line,) = [line for line in worker.log.splitlines() if "of its own logger" in line]
    record = json.loads(line[line.index("{") :])
    assert record["run_id"] == run_id
    assert record["worker"].endswith(f"-{worker.pid}")
    assert "half done" not in worker.log


def test_a_child_ends_as_a_program_does(place: Any, worker: Any, is_alive: Any) -> None:
    child = value_of(place, "leave")
    assert worker.stop() == 0
    assert "said at exit" in worker.log
    assert place.marks() == ["still in the buffer"]
    assert not is_alive(child)


def test_a_child_that_is_told_to_end_does_so_as_a_program_does(
    place: Any, worker: Any, is_alive: Any, eventually: Any
) -> None:
    child = value_of(place, "leave")
    os.kill(child, signal.SIGTERM)
    eventually(lambda: not is_alive(child))
    assert "said at exit" in worker.log
    assert place.marks() == ["still in the buffer"]


def test_a_child_that_does_not_end_is_killed_with_a_word(
    place: Any, worker: Any, is_alive: Any
) -> None:
    child = value_of(place, "leave_thread")
    assert worker.stop() == 0
    assert not is_alive(child)
    assert f"process {child} of isolated tasks did not end within 5 seconds" in worker.log


def test_a_child_that_is_ended_for_its_timeout_says_goodbye_too(place: Any, worker: Any) -> None:
    assert place.result(place.enqueue("tasks.py:leave_late"))["state"] == "TimedOut"
    assert place.marks() == ["said at exit"]


def test_an_isolated_task_can_have_processes_of_its_own(place: Any, worker: Any) -> None:
    # One after the other, and so in the same child.
    answers = place.ask(
        """
        import tasks
        print(json.dumps([
            [task.delay(method).result(timeout=60) for method in ("fork", "spawn", "forkserver")]
            for task in (tasks.in_pool, tasks.in_pool_of_coroutine, tasks.in_executor)
        ]))
        """
    )
    assert answers == [[[1, 4, 9]] * 3] * 3
    assert "Traceback" not in worker.log


def test_what_a_child_forks_or_starts_has_the_usual_signals(place: Any, worker: Any) -> None:
    terminate, interrupt, soft, stack = value_of(place, "signals_of_fork")
    assert (terminate, soft) == ("0", "0")
    assert stack in ("0", "None")
    assert "default_int_handler" in interrupt
    assert value_of(place, "signals_of_program") == []
