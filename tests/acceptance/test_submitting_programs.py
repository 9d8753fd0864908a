"""Programs that submit runs: in processes, in the background, and as they end."""

import signal
import subprocess
import sys
import textwrap

import pytest
from processes import Place
from programs import starts_threads_at_its_end
from waiting import PATIENCE

HEAD = """
import logging, os, signal, sys, threading, time
from jtask import get_run, runtime, task
from jtask.errors import ProcessDied, RunCancelled, RunTimedOut
from jtask.task_runners import BackgroundTaskRunner, ProcessPoolTaskRunner

@task
def pid(number: int) -> int:
    logging.getLogger("mine").warning("number %d", number)
    return os.getpid()

@task(retries=1)
def try_again(file: str) -> list[str]:
    logging.getLogger("mine").warning("once more")
    with open(file, "a") as pids:
        print(os.getpid(), *runtime.task_run.parameters.items(), file=pids)
    if runtime.attempt == 1:
        raise ValueError
    return open(file).read().splitlines()

@task
def go_down(depth: int) -> int:
    return 0 if depth == 0 else 1 + go_down.submit(depth - 1).result()

@task(timeout_seconds=0.3)
def too_slow() -> None:
    time.sleep(60)

@task
def sleep(file: str) -> None:
    open(file, "w").close()
    time.sleep(60)

@task
def die() -> None:
    os._exit(3)

@task
def nap(seconds: float) -> None:
    time.sleep(seconds)
    print("napped", flush=True)

"""


def start(place: Place, body: str, more: str = "") -> "subprocess.Popen[str]":
    program = place.folder / "program.py"
    program.write_text(HEAD + more + "if __name__ == '__main__':\n" + textwrap.indent(body, "    "))
    return subprocess.Popen(
        [sys.executable, program],
        cwd=place.folder,
        env=place.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(place: Place, body: str, more: str = "") -> str:
    process = start(place, textwrap.dedent(body), more)
    said, complaints = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, complaints
    return said


def test_a_program_that_its_own_child_processes_would_start_again_is_told_so(place: Place) -> None:
    program = place.folder / "unguarded.py"
    program.write_text(HEAD + "with ProcessPoolTaskRunner(1):\n    pid.submit(1).result()\n")
    done = subprocess.run(
        [sys.executable, program],
        cwd=place.folder,
        env=place.env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert "task 'pid', which executes in another process, was called while the file" in done.stderr
    assert 'move the call under if __name__ == "__main__"' in done.stderr


def test_each_attempt_of_a_run_that_logs_executes_in_a_process_and_knows_its_parameters(
    place: Place,
) -> None:
    said = output(
        place,
        """
        with ProcessPoolTaskRunner(1):
            attempts = try_again.submit("pids").result()
        pids = {attempt.split()[0] for attempt in attempts}
        assert len(attempts) == 2 and str(os.getpid()) not in pids, attempts
        assert all("('file', 'pids')" in attempt for attempt in attempts), attempts
        print("ok")
        """,
    )
    assert said == "ok\n"


def test_runs_execute_in_processes_and_are_ended_there(place: Place) -> None:
    assert (
        output(
            place,
            """
        with ProcessPoolTaskRunner(2):
            assert os.getpid() not in pid.map([1, 2, 3]).result()
            assert go_down.submit(8).result() == 8
            assert isinstance(too_slow.submit().exception(), RunTimedOut)
            assert isinstance(die.submit().exception(), ProcessDied)
            sleeping = sleep.submit("begun")
            while not os.path.exists("begun"):
                time.sleep(0.01)
            assert sleeping.cancel().result == "interrupted"
            assert isinstance(sleeping.exception(), RunCancelled)
        print("ok")
        """,
        )
        == "ok\n"
    )


OWN_CLASSES = """
import dataclasses, enum
from jtask.errors import ResultError, SerializationError

class Colour(enum.Enum):
    RED = 1

@dataclasses.dataclass
class Order:
    number: int
    more: object = None

@task
def take(order: Order, add):
    assert isinstance(order, Order) and order.more is Colour.RED
    return Order(add(order.number), [order, Order, os.getpid()])

@task
def lock(*args, **kwargs):
    return threading.Lock()

@task
def count(most: int):
    yield from (Order(n) for n in range(most))

@task(isolation="process")
def apart(numbers: set[complex]) -> set[complex]:
    return numbers | {1j}
"""


def test_what_goes_to_a_process_and_back_is_pickled_with_classes_of_the_script(
    place: Place,
) -> None:
    said = output(
        place,
        """
        with ProcessPoolTaskRunner(1):
            step = 1
            made = take.submit(Order(1, Colour.RED), lambda n: n + step).result()
            was, kind, pid = made.more
            assert type(made) is type(was) is kind is Order and made.number == 2
            assert was == Order(1, Colour.RED) and pid != os.getpid()
            assert count.submit(2).result() == [Order(0), Order(1)]
        assert apart({2j}) == {1j, 2j}
        print("ok")
        """,
        OWN_CLASSES,
    )
    assert said == "ok\n"


def test_a_task_goes_to_a_process_and_back_as_itself(place: Place) -> None:
    said = output(
        place,
        """
        with ProcessPoolTaskRunner(1):
            assert take.submit(Order(1, Colour.RED), lambda n: plus(n)).result().number == 2
            assert same.submit(plus).result() is plus
            assert same.submit([same]).result() == [same]
        print("ok")
        """,
        OWN_CLASSES
        + """
@task
def plus(n):
    return n + 1

@task
def same(one):
    assert one is plus or one == [same]
    return one
""",
    )
    assert said == "ok\n"


def test_what_cannot_be_pickled_is_named(place: Place) -> None:
    said = output(
        place,
        """
        with ProcessPoolTaskRunner(1):
            for run in (lock.submit(1), lock.submit(1, b=[threading.Lock()])):
                print(repr(run.exception()))
        """,
        OWN_CLASSES,
    )
    value, argument = said.splitlines()
    assert "ResultError" in value
    assert "the result of task 'lock' (lock) cannot be pickled, TypeError: " in value
    assert "SerializationError" in argument
    assert "argument 'kwargs' of task 'lock' cannot be pickled, TypeError: " in argument
    assert "or have it executed in this process" in argument


@starts_threads_at_its_end
def test_a_program_ends_after_the_runs_that_it_has_submitted(place: Place) -> None:
    said = output(
        place,
        """
        @task
        def outer() -> None:
            time.sleep(0.2)
            nap.submit(0.1)

        outer.submit()
        """,
    )
    assert said == "napped\n"


EXECUTING = """
print("ready", flush=True)
time.sleep(600)
"""
WAITING = """
def tell(main):
    while "wait_for_all" not in [frame.name for frame in stack_of(main)]:
        time.sleep(0.01)
    print("ready", flush=True)

def stack_of(thread):
    return traceback.extract_stack(sys._current_frames()[thread])

threading.Thread(target=tell, args=(threading.get_ident(),)).start()
"""


@pytest.mark.parametrize("then", [EXECUTING, WAITING], ids=["executing", "waiting at its end"])
def test_ctrl_c_ends_a_program_although_its_runs_go_on(place: Place, then: str) -> None:
    process = start(place, f"import traceback\nnap.submit(600)\n{then}")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)


def test_a_forked_process_has_none_of_its_parents_runs(place: Place) -> None:
    said = output(
        place,
        """
        future = nap.submit(0.3)
        if os.fork() == 0:
            assert future.state.name == "Crashed", future
            assert pid.submit(1).result() == os.getpid()
            print("child", flush=True)
            os._exit(0)
        os.wait()
        assert future.result() is None
        """,
    )
    assert said.splitlines() in (["child", "napped"], ["napped", "child"])
