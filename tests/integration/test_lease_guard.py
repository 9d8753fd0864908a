"""The lease guard with a broker that is a file: what it renews is a line there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import freeze, is_alive
from waiting import eventually

LEASE = 1.5  # seconds
LONG_LEASE = 6.0  # seconds; so long that there is a guard only when it is needed
REST = 0.1  # seconds without a lease after which it goes

BROKER = """
import contextlib, os, pathlib

from jtask.errors import BrokerUnavailable

@contextlib.asynccontextmanager
async def open_renewer(config):
    renewed = pathlib.Path(config["renewed"])
    write(renewed.with_name("opened"), os.getpid())
    async def renew(claims):
        write(renewed, " ".join(sorted(claims)))
        if "broken" in claims:
            raise BrokerUnavailable
    try:
        yield renew
    finally:
        write(renewed.with_name("closed"), os.getpid())

def write(file, text):
    with file.open("a") as out:
        out.write(f"{text}\\n")
"""
WORKER = """
import asyncio, os, re, sys, time

from file_broker import open_renewer
from jtask.lease_guard import LeaseGuard

async def main():
    config = {"renewed": sys.argv[1], "password": "s3cret"}
    lease, rest = map(float, sys.argv[2:4])
    guard = LeaseGuard(open_renewer, config, lease, rest)
    guard.start()
    for claim in sys.argv[4:]:
        guard.hold(claim)
    guard.drop(guard.hold("settled"))
    print(guard.pid, flush=True)
    while (order := (await asyncio.to_thread(sys.stdin.readline)).split()) != ["close"]:
        for claim in order[1:]:
            guard.hold(claim)
        # A regular expression backtracks, and never releases the interpreter.
        re.match("(a|aa)+$", "a" * 60 + "b")
    await guard.close()
    print("closed", flush=True)

asyncio.run(main())
"""


class Worker:
    """A process that holds claims under a guard."""

    def __init__(self, folder: Path, claims: tuple[str, ...], lease: float) -> None:
        self._folder = folder
        (folder / "file_broker.py").write_text(BROKER)
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", WORKER, folder / "renewed", str(lease), str(REST), *claims],
                env=os.environ | {"PYTHONPATH": str(folder)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.guard = int(self.says())

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    def lines(self, name: str) -> list[str]:
        """What the broker has noted: `opened`, `renewed`, `closed`."""
        file = self._folder / name
        return file.read_text().splitlines() if file.exists() else []

    def order(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


StartWorker = Callable[..., Worker]


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Start a process that holds some claims; its loop turns until it is ordered to block."""
    started: list[Worker] = []

    def start(*claims: str, lease: float = LEASE) -> Worker:
        worker = Worker(tmp_path, claims, lease)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.process.kill()
        worker.process.communicate()


def test_a_busy_worker_is_renewed(start_worker: StartWorker) -> None:
    worker = start_worker("one", "two")
    worker.order("block")
    eventually(lambda: len(worker.lines("renewed")) >= 3)
    assert set(worker.lines("renewed")) == {"one two"}
    assert len(worker.lines("opened")) == 1


def test_a_worker_whose_loop_turns_is_left_alone(start_worker: StartWorker) -> None:
    worker = start_worker("one")
    time.sleep(2 * LEASE)
    assert is_alive(worker.guard)
    assert worker.lines("renewed") == []


def test_a_stopped_worker_is_not_renewed(start_worker: StartWorker) -> None:
    worker = start_worker("one")
    worker.order("block")
    eventually(lambda: worker.lines("renewed"))
    freeze(worker.process.pid)
    time.sleep(LEASE)  # what the guard had seen just before may still be on its way
    renewed = worker.lines("renewed")
    time.sleep(2 * LEASE)
    assert is_alive(worker.guard)
    assert worker.lines("renewed") == renewed


def test_the_guard_ends_with_a_worker_that_dies(start_worker: StartWorker) -> None:
    worker = start_worker("one")
    worker.order("block")
    eventually(lambda: worker.lines("renewed"))
    worker.process.kill()
    eventually(lambda: not is_alive(worker.guard))
    assert worker.lines("closed") == [str(worker.guard)]


def test_the_guard_is_gone_once_it_is_closed(start_worker: StartWorker) -> None:
    worker = start_worker("one")
    worker.order("close")
    assert worker.says() == "closed"
    assert not is_alive(worker.guard)


def test_a_guard_that_dies_is_replaced(start_worker: StartWorker) -> None:
    worker = start_worker("a")
    # It opens its renewer early: the lease is short.
    eventually(lambda: worker.lines("opened"))
    os.kill(worker.guard, signal.SIGKILL)
    eventually(lambda: len(set(worker.lines("opened"))) == 2)
    assert f"the lease guard (process {worker.guard}) has ended with -9" in worker.log
    worker.order("block")
    eventually(lambda: worker.lines("renewed"))
    assert set(worker.lines("renewed")) == {"a"}


def test_a_guard_goes_when_there_is_nothing_to_guard(start_worker: StartWorker) -> None:
    worker = start_worker(lease=LONG_LEASE)
    eventually(lambda: not is_alive(worker.guard))
    assert worker.log == ""


def test_a_lease_is_kept_that_blocks_a_rested_worker_from_its_first_moment(
    start_worker: StartWorker,
) -> None:
    worker = start_worker(lease=LONG_LEASE)
    eventually(lambda: not is_alive(worker.guard))
    worker.order("block late")
    eventually(lambda: worker.lines("renewed"))
    assert set(worker.lines("renewed")) == {"late"}


def test_a_guard_stays_where_leases_are_short(start_worker: StartWorker) -> None:
    worker = start_worker()
    time.sleep(LEASE)
    assert is_alive(worker.guard)


def test_a_renewer_that_fails_is_opened_anew(start_worker: StartWorker) -> None:
    worker = start_worker("broken")
    worker.order("block")
    eventually(lambda: len(worker.lines("opened")) >= 3)
    assert worker.log.count("the lease guard cannot renew: BrokerUnavailable") == 1


def test_the_renewer_is_opened_early_for_short_leases_only(start_worker: StartWorker) -> None:
    patient = start_worker("one", lease=60.0)
    time.sleep(LEASE)
    assert patient.lines("opened") == []
    hasty = start_worker("one")
    eventually(lambda: hasty.lines("opened"))
    assert hasty.lines("opened") == [str(hasty.guard)]


def test_the_configuration_is_not_in_the_command_line(start_worker: StartWorker) -> None:
    worker = start_worker("one")
    for file in ("cmdline", "environ"):
        assert b"s3cret" not in Path(f"/proc/{worker.guard}/{file}").read_bytes()
