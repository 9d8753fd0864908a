"""Keys hold on a real server, whoever is killed whenever: the rules of the model, with processes.

Workers and callers get SIGKILL, and so does the server. What counts is what the tasks' functions
marked, and what callers were told.
"""

import importlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from nats_machines import run_on_server

from jtask import Run, get_run
from jtask.client import close_client
from jtask.errors import NotUnique
from jtask.settings import get_settings

PATIENCE = 50  # seconds; only a failing test waits so long
TASKS = """
import fcntl, os, time
from jtask import runtime, task

@task(unique="{key}", queue="work")
def build(key: int, seconds: float) -> str:
    # Nobody else may be in here with the same key: the kernel lets go when a process dies.
    with open(os.environ["MARKS"] + f".{key}", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            mark("two at once")
        time.sleep(seconds)
    return runtime.run_id

@task(idempotency_key="{key}", queue="work")
def charge(key: int) -> str:
    mark(f"charged {key} {runtime.run_id}")
    return runtime.run_id

def mark(text):
    with open(os.environ["MARKS"], "a") as file:
        file.write(text + "\\n")
"""
DYING_CALLER = """
import os, signal, sys
import once_tasks
from jtask.client import get_client

async def die(messages):
    os.kill(os.getpid(), signal.SIGKILL)

get_client().broker.runs.enqueue = die
once_tasks.charge.delay(int(sys.argv[1]))
"""


class NatsOnceMachine(RuleBasedStateMachine):
    """Callers, two workers that may be killed, and the server that may be killed."""

    def __init__(self, server: Any, folder: Path) -> None:
        super().__init__()
        self.server, self.folder = server, folder
        self.place = tempfile.TemporaryDirectory(dir=folder)
        self.marks_file = Path(self.place.name) / "marks"
        self.marks_file.touch()
        self.patch = pytest.MonkeyPatch()
        self.patch.setenv("JTASK_NAMESPACE", Path(self.place.name).name)
        self.patch.setenv("MARKS", str(self.marks_file))
        close_client()
        get_settings.cache_clear()
        self.tasks = importlib.import_module("once_tasks")
        self.runs: list[Run[Any]] = []
        self.charged: dict[int, str] = {}
        self.workers: list[subprocess.Popen[bytes]] = []
        self.pool = ThreadPoolExecutor(8)
        for _ in range(2):
            self.start_worker()

    def start_worker(self) -> None:
        command = [sys.executable, "-m", "jtask.cli", "serve", "once_tasks.py", "-c", "4"]
        with self.marks_file.with_suffix(".log").open("ab") as log:
            self.workers.append(subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log))

    @rule(key=st.integers(0, 1), count=st.integers(1, 8), seconds=st.sampled_from([0.0, 0.3, 1.5]))
    def unique_calls_come(self, key: int, count: int, seconds: float) -> None:
        calls = [self.pool.submit(self.tasks.build.delay, key, seconds) for _ in range(count)]
        errors = [one.exception(PATIENCE) for one in calls]
        self.runs += [one.result() for one in calls if one.exception() is None]
        for error in errors:
            assert error is None or isinstance(error, NotUnique)
        # With nothing to do one may have ended before the next one came.
        if seconds > 1:
            assert errors.count(None) <= 1

    @rule(key=st.integers(0, 3), count=st.integers(1, 4))
    def repeated_calls_come(self, key: int, count: int) -> None:
        calls = [self.pool.submit(self.tasks.charge.delay, key) for _ in range(count)]
        (run_id,) = {one.result(PATIENCE).run_id for one in calls}
        assert self.charged.setdefault(key, run_id) == run_id
        self.runs.append(calls[0].result())

    @rule(key=st.integers(0, 3))
    def a_caller_is_killed_between_key_and_run(self, key: int) -> None:
        command = [sys.executable, "-c", DYING_CALLER, str(key)]
        ended = subprocess.run(
            command, cwd=self.folder, timeout=PATIENCE, capture_output=True, check=False
        )
        # One whose key is taken gets that run, and lives.
        assert ended.returncode == (0 if key in self.charged else -9), ended.stderr

    @rule(number=st.integers(0, 1))
    def a_worker_is_killed(self, number: int) -> None:
        victim = self.workers.pop(number)
        victim.kill()
        victim.wait()
        self.start_worker()

    @rule()
    def the_server_is_killed(self) -> None:
        self.server.kill()
        self.server.start()

    def teardown(self) -> None:
        try:
            for run in self.runs:
                assert run.wait(PATIENCE)
                assert run.state.name.value in ("Completed", "Crashed"), run.state
            marks = self.marks_file.read_text().splitlines()
            assert "two at once" not in marks
            charged = [line.split()[1:] for line in marks]
            # Executed again only as the same run, when its worker was killed.
            assert {(int(key), run_id) for key, run_id in charged} == set(self.charged.items())
            for key, run_id in self.charged.items():
                assert self.tasks.charge.delay(key).run_id == run_id
                assert get_run(run_id).result(PATIENCE) == run_id
        finally:
            self.pool.shutdown()
            for worker in self.workers:
                worker.kill()
                worker.wait()
            close_client()
            self.patch.undo()
            get_settings.cache_clear()
            self.place.cleanup()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "once_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    yield tmp_path
    sys.modules.pop("once_tasks", None)


@pytest.mark.timeout(300)
def test_keys_hold_whoever_is_killed(
    nats_server: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_on_server(
        lambda: NatsOnceMachine(nats_server, folder),
        nats_server,
        monkeypatch,
        examples=6,
        steps=15,
    )
