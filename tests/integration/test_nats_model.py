"""Retries, cancellations and schedules hold on a real server, whoever is killed whenever.

The rules of the models on the memory broker, with real workers that get SIGKILL, a real server
that gets SIGKILL, and connections that break. What counts is what the tasks' functions marked and
what whoever waits hears.
"""

import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from relay import Relay

from jtask import Run
from jtask.client import close_client, get_client
from jtask.client.cancel_requests import cancel_requests
from jtask.errors import BrokerError
from jtask.ids import created_at
from jtask.outcomes import CancelResult
from jtask.settings import get_settings
from jtask_cancellation.worker_side import HELD
from jtask_schedules.schedule_store import ScheduleStore

PATIENCE = 50  # seconds; only a failing test waits so long
RETRIES = 2
TASKS = """
import asyncio, os, time
from jtask import runtime, task
from jtask.client import cancel_notices
from jtask.errors import RunCancelled
from jtask_cancellation import worker_side

if "IS_WORKER" in os.environ:
    # Seconds; here nobody waits long for a caller that heard an error, or for a killed worker.
    worker_side._FIRST_LOOK, worker_side._LONGEST_PAUSE = 0.3, 0.6
    cancel_notices._CLAIM_SECONDS = 1.0

def mark(word):
    with open(os.environ["MARKS"], "a") as file:
        file.write(f"{word} {runtime.run_id} {runtime.attempt}\\n")

def is_released():
    return os.path.exists(os.environ["MARKS"] + ".released")

@task(queue="work", retries=2, retry_delay_seconds=[0.3, 0.7])
def flaky(failures: int) -> int:
    mark("begun")
    if runtime.attempt <= failures:
        raise ValueError("boom")
    return runtime.attempt

@task(queue="work")
def patient() -> None:
    mark("begun")
    while True:
        if runtime.cancelled:
            raise RunCancelled(runtime.cancelled)
        if is_released():
            return
        time.sleep(0.01)

@task(queue="work")
async def sleepy() -> None:
    mark("begun")
    while not is_released():
        await asyncio.sleep(0.01)

@task(every=1)
def beat() -> None:
    mark("beat")
"""


@dataclass
class ModelRun:
    """What is known of a run without asking for it."""

    run: Run[Any]
    failures: int
    waits_for_release: bool
    is_wished: bool = False
    begun_at_most: int | None = None
    asked_after: int | None = None

    def ends(self) -> set[str]:
        """How it may end, if nothing is known of its cancellation."""
        end = "Completed" if self.failures <= RETRIES else "Failed"
        if not self.is_wished:
            return {end}
        # One that fails by itself while it is asked to end is not retried.
        return {end, "Cancelled", "Failed"} if self.failures else {end, "Cancelled"}


class NatsMachine(RuleBasedStateMachine):
    """A caller, two workers that may be killed, and the server that may be killed."""

    def __init__(self, server: Any, relay: Relay, folder: Path) -> None:
        super().__init__()
        self.server, self.relay = server, relay
        self.place = tempfile.TemporaryDirectory(dir=folder)
        self.marks_file = Path(self.place.name) / "marks"
        self.marks_file.touch()
        self.patch = pytest.MonkeyPatch()
        self.patch.setenv("JTASK_NAMESPACE", Path(self.place.name).name)
        self.patch.setenv("MARKS", str(self.marks_file))
        close_client()
        get_settings.cache_clear()
        self.tasks = importlib.import_module("stateful_tasks")
        self.runs: list[ModelRun] = []
        self.paused_since: float | None = None
        self.disturbances = 0
        self.workers: list[subprocess.Popen[bytes]] = []
        self.start_worker()
        self.start_worker()

    def start_worker(self) -> None:
        program = [sys.executable, "-m", "jtask.cli", "serve", "stateful_tasks.py"]
        # Few slots, so that runs are also cancelled that a worker holds for later.
        command = [*program, "-c", "2", "--prefetch", "3"]
        with self.marks_file.with_suffix(".log").open("ab") as log:
            folder = Path(self.tasks.__file__).parent
            env = {**os.environ, "IS_WORKER": "1"}
            worker = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
            self.workers.append(worker)

    def marks(self, word: str) -> list[tuple[str, int]]:
        # The last one may be half written.
        lines = [line.split() for line in self.marks_file.read_text().split("\n")[:-1]]
        return [(run_id, int(attempt)) for kind, run_id, attempt in lines if kind == word]

    def attempts(self, known: ModelRun) -> list[int]:
        return [n for run_id, n in self.marks("begun") if run_id == known.run.run_id]

    # --- runs ------------------------------------------------------------------------------

    @initialize(name=st.sampled_from(["patient", "sleepy"]))
    def some_to_begin_with(self, name: str) -> None:
        for delay in (0, 0, 0.6):
            self.one_that_takes_long(name, delay)
        self.several_that_fail([0, 1, 3])

    @rule(failures=st.lists(st.integers(0, 3), min_size=1, max_size=4))
    def several_that_fail(self, failures: list[int]) -> None:
        runs = self.tasks.flaky.delay_many([(count,) for count in failures])
        for run, count in zip(runs, failures, strict=True):
            self.runs.append(ModelRun(run, count, waits_for_release=False))

    @rule(name=st.sampled_from(["patient", "sleepy"]), delay=st.sampled_from([0, 0, 0.6, 5]))
    def one_that_takes_long(self, name: str, delay: float) -> None:
        run = getattr(self.tasks, name).with_options(delay=delay).delay()
        self.runs.append(ModelRun(run, 0, waits_for_release=True))

    @rule(data=st.data())
    def somebody_cancels(self, data: st.DataObject) -> None:
        self.cancel(self.chosen(data))

    @rule(data=st.data())
    def somebody_cancels_what_executes(self, data: st.DataObject) -> None:
        known = self.chosen(data)
        # One that does not start soon is cancelled where it is.
        self.wait_for_its_start(known)
        self.cancel(known)

    def chosen(self, data: st.DataObject) -> ModelRun:
        open_runs = [known for known in self.runs if not known.run.done()] or self.runs
        return open_runs[data.draw(st.integers(0, 7)) % len(open_runs)]

    def cancel(self, known: ModelRun) -> None:
        # A worker that is cut off just now is taken for dead, and could not be told.
        self.eventually(self.all_workers_hear)
        known.is_wished = True
        try:
            answer = known.run.cancel("enough")
        except BrokerError:
            return
        if answer.result is CancelResult.NEVER_STARTS:
            assert known.run.state.name == "Cancelled"
            known.begun_at_most = len(self.attempts(known))
        elif answer.result is CancelResult.ALREADY_OVER:
            assert answer.state is not None
            assert known.run.state.name == answer.state.name
        elif answer.result is not CancelResult.NOT_FOUND:
            known.asked_after = self.disturbances

    def all_workers_hear(self) -> bool:
        client = get_client()
        asking = client.broker.requests.ask(HELD, b"", timeout=0.5, answers=len(self.workers))
        return len(client.io.run(asking)) == len(self.workers)

    def wait_for_its_start(self, known: ModelRun) -> None:
        deadline = time.monotonic() + 1
        while not self.attempts(known) and time.monotonic() < deadline:
            time.sleep(0.01)

    # --- dying -----------------------------------------------------------------------------

    @rule(victim=st.sampled_from(["worker", "server", "connections"]))
    def something_dies(self, victim: str) -> None:
        self.disturbances += 1
        if victim == "worker":
            self.workers[0].kill()
            self.workers[0].wait()
        elif victim == "server":
            self.server.kill()
            self.server.start()
        else:
            self.relay.cut()
        self.replace_the_dead()

    def replace_the_dead(self) -> None:
        """Do what a supervisor does: a worker that starts while all is broken says so and ends."""
        living = [worker for worker in self.workers if worker.poll() is None]
        missing = len(self.workers) - len(living)
        self.workers = living
        for _ in range(missing):
            self.start_worker()

    def eventually(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < deadline, "it never came true"
            self.replace_the_dead()
            time.sleep(0.01)
        return found

    # --- the schedule ----------------------------------------------------------------------

    def keep(self, work: Callable[[ScheduleStore], Any]) -> Any:
        client = get_client()
        return client.io.run(work(ScheduleStore(client.broker)))

    @rule()
    def somebody_pauses_or_resumes_the_schedule(self) -> None:
        if self.paused_since is not None:
            self.resume()
            return
        self.eventually(lambda: self.keep(lambda store: store.find(self.tasks.beat.key)))
        self.keep(lambda store: store.pause(self.tasks.beat.key))
        self.paused_since = time.time()

    def resume(self) -> None:
        paused, resumed = self.paused_since, time.time()
        assert paused is not None
        self.keep(lambda store: store.resume(self.tasks.beat.key))
        self.paused_since = None
        assert not [at for at in self.instants() if paused < at < resumed]

    def instants(self) -> list[float]:
        return [created_at(run_id) for run_id, _ in self.marks("beat")]

    # --- the end ---------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            self.everything_comes_to_its_end()
        finally:
            for worker in self.workers:
                worker.kill()
                worker.wait()
            close_client()
            self.patch.undo()
            get_settings.cache_clear()
            self.place.cleanup()

    def everything_comes_to_its_end(self) -> None:
        self.marks_file.with_suffix(".released").touch()
        for known in self.runs:
            self.eventually(lambda run=known.run: run.wait(0.05))
            self.check_end(known)
        self.the_schedule_goes_on()
        self.nothing_is_left()

    def check_end(self, known: ModelRun) -> None:
        end, attempts = known.run.state.name.value, self.attempts(known)
        assert end in known.ends()
        if known.begun_at_most is not None:
            assert (end, len(attempts)) == ("Cancelled", known.begun_at_most)
        if known.waits_for_release and known.asked_after == self.disturbances:
            assert end == "Cancelled"
        last = min(known.failures, RETRIES) + 1
        assert set(attempts) <= set(range(1, last + 1))
        if end != "Cancelled":
            assert known.is_wished or known.run.attempt == last
            assert len(set(attempts)) == known.run.attempt
        assert max(Counter(attempts).values(), default=0) <= 1 + self.disturbances

    def the_schedule_goes_on(self) -> None:
        if self.paused_since is not None:
            self.resume()
        since = time.time()
        self.eventually(lambda: any(at > since for at in self.instants()))
        starts = Counter(self.marks("beat"))
        of_each_instant = Counter(created_at(run_id) for run_id, _ in starts)
        assert set(of_each_instant.values()) == {1}, "an instant was run twice"
        millis = [round(at * 1000) for at in of_each_instant]
        assert {(at - millis[0]) % 1000 for at in millis} == {0}
        assert max(starts.values()) <= 1 + self.disturbances

    def nothing_is_left(self) -> None:
        client = get_client()
        self.eventually(lambda: client.io.run(client.broker.queues.depth("work")) == 0)
        self.eventually(lambda: client.io.run(cancel_requests(client.broker)) == [])

        async def pending() -> int:
            return len([run async for run in client.broker.queues.waiting(self.tasks.beat.queue)])

        self.eventually(lambda: client.io.run(pending()) == 1)


@pytest.fixture
def machine(nats_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "stateful_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    relay = Relay(nats_server.port)
    for name in [name for name in os.environ if name.startswith("JTASK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("JTASK_URL", f"nats://127.0.0.1:{relay.port}")
    monkeypatch.setattr("jtask.client.cancel_notices._CLAIM_SECONDS", 1.0)
    monkeypatch.setenv("JTASK_LEASE", "1")
    monkeypatch.setenv("JTASK_MAX_CRASHES", "100")
    # Of a worker whose first connection is cut in the middle: by then it says so and ends.
    monkeypatch.setenv("JTASK_CONNECT_TIMEOUT", "10")
    yield lambda: NatsMachine(nats_server, relay, tmp_path)
    relay.close()


@pytest.mark.timeout(150)
def test_what_holds_in_the_models_holds_on_a_real_server(machine: Any) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=6,
            stateful_step_count=20,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
