"""Who uses jtask for the first time where that cannot be done is told what to do instead."""

import sys
from pathlib import Path

import pytest
from programs import environment, output_of

TASK = """
import atexit, importlib.abc, signal, sys, threading
from jtask import task
from jtask.errors import JTaskError

@task
def add(a: int, b: int) -> int:
    return a + b

def try_to(call):
    try:
        call(1, 2)
    except JTaskError as error:
        print(type(error).__name__, error)
"""
IN_HANDLER = """
class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGALRM)

signal.signal(signal.SIGALRM, lambda *_: try_to(add.delay))
sys.meta_path.insert(0, Interrupting())
getattr(add, sys.argv[2])(1, 2)
print("called")
"""
AT_ONCE = """
# The first thread is held up in the middle of its import until the second one is in its own.
def hold_up(event, arguments):
    if event == "import" and arguments[0] == "jtask.task_runners.asyncio_runner":
        first_is_inside.set()
        second_is_inside.wait()
    elif event == "import" and arguments[0] == "jtask.task_runners.mapping":
        if threading.current_thread() is threads[1]:
            second_is_inside.set()

def map_some():
    said.append(add.map([1, 2], 3).result())
    first_is_inside.set()

def submit_one():
    first_is_inside.wait()
    said.append(add.submit(1, 2).result())

said = []
first_is_inside, second_is_inside = threading.Event(), threading.Event()
threads = [threading.Thread(target=map_some), threading.Thread(target=submit_one)]
sys.addaudithook(hold_up)
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(said)
"""
AT_EXIT = """
atexit.register(try_to, add.delay)
atexit.register(try_to, add.submit)
"""


def said_by(program: str, folder: Path, *arguments: str) -> list[str]:
    file = folder / "caller.py"
    file.write_text(TASK + program)
    env = environment(JTASK_URL="memory://", JTASK_NAMESPACE="first")
    said = output_of(sys.executable, str(file), *arguments, folder=folder, env=env)
    return said.splitlines()


@pytest.mark.parametrize(
    ("verb", "module"),
    [
        ("__call__", "jtask.execution.direct_call"),
        ("delay", "jtask.client.client"),
        ("submit", "jtask.task_runners.submitted"),
    ],
)
def test_a_signal_handler_that_interrupts_the_first_use_is_told_to_connect_before(
    verb: str, module: str, tmp_path: Path
) -> None:
    assert said_by(IN_HANDLER, tmp_path, module, verb) == [
        "JTaskError a signal handler called jtask while it interrupted the first use of jtask in "
        "the same thread: call jtask.connect() before the handler may be called, or let it set a "
        "flag",
        "called",
    ]


def test_a_function_of_atexit_that_is_the_first_use_is_told_to_connect_before(
    tmp_path: Path,
) -> None:
    assert said_by(AT_EXIT, tmp_path) == 2 * [
        "BrokerUnavailable the program is over, and jtask is used for the first time: call "
        "jtask.connect() earlier, such as before atexit.register(...)"
    ]


def test_threads_may_use_jtask_for_the_first_time_at_the_same_moment(tmp_path: Path) -> None:
    assert said_by(AT_ONCE, tmp_path) == ["[[4, 5], 3]"]
