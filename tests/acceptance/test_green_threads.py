"""jtask beside a real gevent: it works where threads are real, and says what to do where not."""

import re
import sys
import urllib.request
from typing import Any

import pytest
from waiting import PATIENCE

REFUSED = "gevent has replaced the threads of this process"
PATCHED = """
from gevent import monkey
monkey.patch_all()
from jtask import task

@task
def add(a: int, b: int) -> int:
    return a + b
"""
APP = """
from jtask import task

@task
def add(a: int, b: int) -> int:
    return a + b

def application(environ, start_response):
    try:
        said = add.delay(1, 2).state.name
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [said.encode()]
"""


@pytest.mark.parametrize("options", [(), ("-p", "2")], ids=["worker", "processes"])
def test_a_patched_worker_ends_with_the_reason(place: Any, options: tuple[str, ...]) -> None:
    place.write("patched.py", PATCHED)
    done = place.jtask("serve", *options, "patched.py")
    assert (REFUSED in done.stderr, done.returncode) == (True, 2)


def test_a_patched_program_calls_directly_and_is_refused_a_run(place: Any) -> None:
    place.write("patched.py", PATCHED)
    program = place.start_python(
        "import patched; print(patched.add(1, 2)); patched.add.delay(1, 2)"
    )
    assert program.wait() == 1
    assert "\n3\n" in f"\n{program.log}"
    assert REFUSED in program.log


@pytest.mark.parametrize(
    ("workers", "said"), [("gevent", f"ConfigurationError: {REFUSED}"), ("gthread", "Scheduled")]
)
def test_a_web_server_hears_at_the_first_call_whether_its_workers_can_enqueue(
    place: Any, workers: str, said: str
) -> None:
    place.write("app.py", APP)
    gunicorn = (sys.executable, "-m", "gunicorn", "-k", workers, "-b", "127.0.0.1:0")
    server = place.start(*gunicorn, "app:application")
    server.says("Booting worker")
    address = re.search(r"Listening at: (\S+)", server.log)
    assert address is not None
    with urllib.request.urlopen(address[1], timeout=PATIENCE) as answer:
        assert answer.read().decode().startswith(said)
    server.stop()
