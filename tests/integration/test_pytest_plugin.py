"""The pytest fixtures, in projects of users: those of docs/testing.md, and some that go wrong."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jtask

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
CORE = Path(jtask.__file__).parents[1]
FILE = re.compile(r"^```python\n(# (\w+\.py)\n.*?)^```$", re.MULTILINE | re.DOTALL)


def run_pytest(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JTASK_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-W", "error", "-rA", *options],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=55,
    )


def counts(done: "subprocess.CompletedProcess[str]") -> dict[str, int]:
    last = done.stdout.splitlines()[-1]
    return {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", last) if word != "in"}


@pytest.fixture
def documented(tmp_path: Path) -> Path:
    for text, name in FILE.findall(PAGE.read_text()):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_documented_tests_pass(documented: Path) -> None:
    (documented / "conftest.py").unlink()
    done = run_pytest(documented)
    assert counts(done)["passed"] == 4, done.stdout + done.stderr
    assert done.returncode == 0


def test_the_documented_conftest_runs_each_test_on_both_brokers(documented: Path) -> None:
    (documented / "test_shop_on_nats.py").unlink()
    done = run_pytest(documented, "-v")
    assert counts(done)["passed"] == 5, done.stdout + done.stderr
    assert "background[jtask_memory] PASSED" in done.stdout
    assert "background[jtask_nats] PASSED" in done.stdout


def test_each_test_has_a_broker_of_its_own_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("""
import os, threading
from jtask import task
from jtask.client import get_client
from jtask.settings import get_settings

@task
def f() -> int:
    return 1

def depth():
    client = get_client()
    return client.io.run(client.broker.queues.depth(f.queue))

def test_one(jtask_memory):
    assert os.environ["JTASK_URL"] == jtask_memory == get_settings().url
    f.delay()
    assert depth() == 1

def test_two(jtask_memory):
    assert depth() == 0

def test_three():
    assert "JTASK_URL" not in os.environ
    assert get_settings().url == "embedded://"

def test_four(jtask_worker):
    jtask_worker(f)
    assert f.delay().result(10) == 1

def test_five():
    for thread in threading.enumerate():
        if thread.name not in {"MainThread", "jtask-io", "jtask-hooks"}:
            thread.join(20)
            assert not thread.is_alive(), thread
""")
    done = run_pytest(tmp_path)
    assert counts(done)["passed"] == 5, done.stdout + done.stderr


def test_a_failing_test_stops_its_worker_and_its_server_too(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("""
import os
from jtask import task

@task
def f() -> int:
    return os.getpid()

def test_it(jtask_worker, jtask_nats):
    jtask_worker(f)
    assert f.delay().result(20) == os.getpid()
    print("home", os.environ["JTASK_HOME"])
    raise RuntimeError("wrong")
""")
    done = run_pytest(tmp_path)
    assert counts(done) == {"failed": 1}, done.stdout + done.stderr
    assert "RuntimeError: wrong" in done.stdout
    assert '{"stopped": true}' in done.stdout
    found = re.search(r"^home (.*)$", done.stdout, re.MULTILINE)
    assert found is not None
    assert not _is_served(Path(found[1]))


def _is_served(home: Path) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "jtask", "server", "status"],
        env=os.environ | {"JTASK_HOME": str(home)},
        capture_output=True,
        timeout=50,
    )
    return done.returncode == 0


def test_a_plugin_is_there_for_one_test_only(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("""
from jtask import task
from jtask.hooks import hookimpl

class Count:
    def __init__(self):
        self.ended = 0

    @hookimpl
    def jtask_settled(self):
        self.ended += 1

count = Count()

@task
def f() -> None: ...

def test_before():
    f()
    assert count.ended == 0

def test_with(jtask_plugin):
    jtask_plugin(count)
    f()
    assert count.ended == 1

def test_after():
    f()
    assert count.ended == 1
""")
    done = run_pytest(tmp_path)
    assert counts(done)["passed"] == 3, done.stdout + done.stderr


def test_the_plugin_costs_a_project_that_does_not_use_it_next_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("""
import sys

def test_it():
    heavy = "asyncio pydantic nats click uvloop cloudpickle opentelemetry rich".split()
    heavy += ["pydantic_settings", "jtask_nats", "jtask_memory"]
    assert [name for name in heavy if name in sys.modules] == []
    assert "jtask.testing.plugin" in sys.modules
""")
    # Other projects' plugins import what they like.
    others = ["-p", "no:anyio", "-p", "no:hypothesispytest", "-p", "no:xdist"]
    done = run_pytest(tmp_path, *others, "-p", "no:_hypothesis_pytestplugin")
    assert counts(done)["passed"] == 1, done.stdout + done.stderr


def test_an_importing_plugin_does_not_start_anything(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("""
import threading

def test_it():
    assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
""")
    done = run_pytest(tmp_path)
    assert counts(done)["passed"] == 1, done.stdout + done.stderr
