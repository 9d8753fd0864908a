"""A program ends, and what a broker needs to close still works then."""

import os
import subprocess
import sys
import textwrap

import pytest
from installing import write_package
from processes import Place
from programs import starts_threads_at_its_end
from waiting import PATIENCE

BROKER = """
import asyncio
import concurrent.futures
import jtask_memory
from jtask.contract import in_process

@in_process
async def open_attic(url, client, loop):
    broker = await jtask_memory.open_broker("memory://attic", client, loop)
    pool = concurrent.futures.ThreadPoolExecutor()
    await loop.run_in_executor(pool, str)  # leaves a thread behind that waits for work
    close = broker.close

    async def close_with_executors():
        await asyncio.to_thread(print, "closed in a thread")
        await loop.run_in_executor(pool, print, "closed in a pool")
        await close()

    broker.close = close_with_executors
    return broker
"""
CLOSED = ["closed in a thread", "closed in a pool"]


@pytest.fixture
def attic(place: Place) -> Place:
    """A place where the broker of another package is used, one that closes by executors."""
    site = place.folder / "site"
    site.mkdir()
    write_package(site, "attics", BROKER, "[jtask.brokers]\nattic = {module}:open_attic\n")
    path = os.pathsep.join(filter(None, [str(site), place.env.get("PYTHONPATH")]))
    place.env |= {"PYTHONPATH": path, "JTASK_URL": "attic://"}
    return place


def printed(place: Place, body: str) -> list[str]:
    """Run a program with a task `triple` and return what it says, on stderr too."""
    program = place.folder / "program.py"
    program.write_text(
        "import atexit, threading, concurrent.futures.thread\n"
        "from jtask import task\n"
        "@task\ndef triple(number: int) -> int:\n    return number * 3\n" + textwrap.dedent(body)
    )
    done = subprocess.run(
        [sys.executable, program],
        cwd=place.folder,
        # From Python 3.12 on it warns of forks beside other threads.
        env=place.env | {"PYTHONWARNINGS": "ignore::DeprecationWarning"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


@starts_threads_at_its_end
def test_a_broker_may_use_executors_to_close(attic: Place) -> None:
    assert printed(attic, "triple.delay(1)") == CLOSED


@starts_threads_at_its_end
def test_a_broker_may_use_executors_to_close_in_a_forked_child(attic: Place) -> None:
    body = """
        import os
        triple.delay(1)
        if (child := os.fork()) == 0:
            triple.delay(1)
        else:
            assert os.waitpid(child, 0)[1] == 0
    """
    assert printed(attic, body) == CLOSED * 2


@pytest.mark.parametrize(
    "start",
    [
        "threading.Thread(target=wait).start()",
        "pool = concurrent.futures.ThreadPoolExecutor(); pool.submit(wait)",
        # Its thread is idle when the second job comes, and not awake yet when the program ends.
        "pool = concurrent.futures.ThreadPoolExecutor(1); pool.submit(str).result(); "
        "pool.submit(wait)",
    ],
)
def test_threads_that_outlive_the_main_one_keep_the_connection(place: Place, start: str) -> None:
    place.env["JTASK_URL"] = "memory://"
    body = f"""
        ending = threading.Event()
        # Called after what the first use of jtask registers, and before the executors end.
        threading._register_atexit(ending.set)
        runs = triple.delay_many([(1,), (2,)])

        def wait():
            ending.wait()
            print([run.state.name.value for run in runs], flush=True)

        {start}
    """
    assert printed(place, body) == ["['Scheduled', 'Scheduled']"]


def test_what_closes_too_late_is_one_line(attic: Place) -> None:
    body = """
        triple.delay(1)
        threading.Thread(target=threading.main_thread().join).start()
    """
    said = printed(attic, body)
    assert len(said) == 1
    assert said[0].startswith("the connection could not be closed at the end of the program:")


def test_a_run_can_be_delayed_in_a_function_of_atexit(place: Place) -> None:
    body = """
        triple.delay(1)
        atexit.register(lambda: print(triple.delay(2).state.name.value))
    """
    assert printed(place, body) == ["Scheduled"]
