"""Who lives keeps its runs, who does not loses them within a lease."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from jtask.contract import Delivery, Message
from jtask.ids import RunIds
from jtask.settings import Settings
from jtask_nats.broker import NatsBroker
from jtask_nats.connection import Connection
from jtask_nats.lease_guard import GuardAccess, Sight, must_renew
from jtask_nats.lease_table import CAPACITY, NO_SLOT, SIZE, LeaseTable

Run = Callable[[Coroutine[Any, Any, Any]], Any]
PATIENCE = 40.0  # seconds
LEASE = 2.0  # seconds

# Takes one run, says so, does something, and acks it.
WORKER = """
import asyncio, sys, time
from jtask.settings import Settings
from jtask_nats.broker import NatsBroker
from jtask_nats.connection import Connection
from jtask_nats.lease_guard import GuardAccess

async def main():
    url, lease = sys.argv[1], float(sys.argv[2])
    connection = await Connection.open([url], name="worker", connect_timeout=20.0)
    settings = Settings(lease=lease)
    broker = await NatsBroker.open(connection, "0123456789", settings, GuardAccess((url,)))
    taken = asyncio.get_running_loop().create_future()
    await broker.consume(["mails"], 1, taken.set_result)
    delivery = await taken
    while broker._leases._guard.pid is None:
        await asyncio.sleep(0.01)
    print("taken", broker._leases._guard.pid, flush=True)
    work(lease)
    delivery.ack()
    await connection.flush()
    print("done", flush=True)
    await asyncio.sleep(60)

"""
# A regular expression that backtracks for several leases and never releases the interpreter.
BUSY = """
import math, re

def backtrack(length):
    started = time.monotonic()
    re.match("(a|aa)+$", "a" * length + "b")
    return time.monotonic() - started

def work(lease):
    longer = math.log(4 * lease / backtrack(26)) / math.log(1.618)
    backtrack(26 + math.ceil(longer))
"""
# Holds the interpreter and does nothing: nothing in this process can go on.
STUCK = """
import ctypes

def work(lease):
    ctypes.PyDLL(None).sleep(60)
"""


async def open_broker(server: Any, **settings: Any) -> NatsBroker:
    connection = await Connection.open([server.url], name="test", connect_timeout=20.0)
    access = GuardAccess((server.url,))
    return await NatsBroker.open(connection, RunIds().client, Settings(**settings), access)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


class Observer:
    """Another worker of the same queue: it gets what the first one loses."""

    def __init__(self) -> None:
        self.got: list[Delivery] = []

    async def watch(self, server: Any) -> NatsBroker:
        broker = await open_broker(server, lease=LEASE)
        await broker.consume(["mails"], 10, self.got.append)
        return broker


@pytest.fixture
def start_worker(nats_server: Any) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a process that takes the run and then does some work."""
    started: list[subprocess.Popen[str]] = []

    def start(work: str) -> subprocess.Popen[str]:
        program = WORKER + work + "\nasyncio.run(main())\n"
        command = [sys.executable, "-c", program, nats_server.url, str(LEASE)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


async def line_of(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return (await asyncio.to_thread(process.stdout.readline)).split()


async def with_one_run(server: Any) -> NatsBroker:
    broker = await open_broker(server, lease=LEASE)
    await broker.enqueue([Message(RunIds().new(), "mails", b"{}")])
    return broker


def test_a_run_is_kept_while_its_task_blocks_a_thread(nats_server: Any) -> None:
    async def main() -> None:
        observer = Observer()
        broker = await open_broker(nats_server, lease=1)
        taken: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        await broker.consume(["mails"], 1, taken.set_result)
        await broker.enqueue([Message(RunIds().new(), "mails", b"{}")])
        delivery = await taken
        other = await observer.watch(nats_server)
        await asyncio.to_thread(threading.Event().wait, 3.0)
        delivery.ack()
        while await broker.depth("mails"):
            await asyncio.sleep(0.01)
        assert observer.got == []
        await other.close()
        await broker.close()

    asyncio.run(main())


def test_a_run_is_kept_while_its_task_holds_the_interpreter(
    nats_server: Any, start_worker: Callable[[str], subprocess.Popen[str]]
) -> None:
    async def main() -> None:
        broker, observer = await with_one_run(nats_server), Observer()
        worker = start_worker(BUSY)
        assert (await line_of(worker))[0] == "taken"
        other = await observer.watch(nats_server)
        assert await line_of(worker) == ["done"]
        while await broker.depth("mails"):
            await asyncio.sleep(0.01)
        assert observer.got == []
        await other.close()
        await broker.close()

    asyncio.run(main())


def test_a_run_of_a_stopped_worker_goes_to_another(
    nats_server: Any, start_worker: Callable[[str], subprocess.Popen[str]]
) -> None:
    async def main() -> None:
        broker, observer = await with_one_run(nats_server), Observer()
        worker = start_worker(BUSY)
        assert (await line_of(worker))[0] == "taken"
        worker.send_signal(signal.SIGSTOP)
        other = await observer.watch(nats_server)
        await until(lambda: len(observer.got) == 1)
        assert observer.got[0].deliveries == 2
        await other.close()
        await broker.close()

    asyncio.run(main())


def test_a_run_of_a_stuck_worker_goes_to_another(
    nats_server: Any, start_worker: Callable[[str], subprocess.Popen[str]]
) -> None:
    async def main() -> None:
        broker, observer = await with_one_run(nats_server), Observer()
        worker = start_worker(STUCK)
        assert (await line_of(worker))[0] == "taken"
        other = await observer.watch(nats_server)
        await until(lambda: len(observer.got) == 1)
        await other.close()
        await broker.close()

    asyncio.run(main())


def test_the_guard_ends_with_its_worker(
    nats_server: Any, start_worker: Callable[[str], subprocess.Popen[str]]
) -> None:
    async def main() -> None:
        broker = await with_one_run(nats_server)
        worker = start_worker(STUCK)
        _, guard = await line_of(worker)
        assert Path(f"/proc/{guard}").exists()
        worker.kill()
        await until(lambda: not is_running(int(guard)))
        await broker.close()

    asyncio.run(main())


def test_closing_a_broker_ends_its_guard(nats_server: Any) -> None:
    async def main() -> None:
        broker = await open_broker(nats_server)
        await broker.consume(["mails"], 1, lambda delivery: None)
        guard = broker._leases._guard
        assert guard is not None
        await until(lambda: guard.pid is not None)
        await broker.close()
        assert not is_running(guard.pid or 0)

    asyncio.run(main())


def is_running(pid: int) -> bool:
    """A process that nobody has waited for yet does not run either."""
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        return not re.search(r"\) Z ", stat)
    return False


@pytest.mark.parametrize(
    ("before", "now", "still_for", "renews"),
    [
        (Sight(5, 100, "R"), Sight(5, 150, "R"), 1.1, True),
        (Sight(5, 100, "S"), Sight(5, 101, "S"), 1.1, True),
        (Sight(5, 100, "R"), Sight(6, 150, "R"), 1.1, False),
        (Sight(5, 100, "R"), Sight(5, 150, "R"), 0.9, False),
        (Sight(5, 100, "S"), Sight(5, 100, "S"), 9.9, False),
        (Sight(5, 100, "R"), Sight(5, 150, "T"), 1.1, False),
        (Sight(5, 100, "R"), Sight(5, 150, "Z"), 1.1, False),
    ],
    ids=["busy", "hardly-busy", "beats", "too-early", "stuck", "stopped", "dead"],
)
def test_the_guard_renews_for_who_is_busy_and_silent(
    before: Sight, now: Sight, still_for: float, renews: bool
) -> None:
    assert must_renew(before, now, still_for, lease=3.0) is renews


@pytest.fixture
def tables() -> Iterator[tuple[LeaseTable, LeaseTable]]:
    """The two sides of one table."""
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, SIZE)
    worker, guard = LeaseTable(descriptor), LeaseTable(descriptor)
    yield worker, guard
    worker.close()
    guard.close()
    os.close(descriptor)


def test_the_guard_sees_the_claims_in_hand(tables: tuple[LeaseTable, LeaseTable]) -> None:
    worker, guard = tables
    first, second = worker.put("$JS.ACK.long.one.1"), worker.put("$JS.ACK.two.2")
    assert set(guard.claims()) == {"$JS.ACK.long.one.1", "$JS.ACK.two.2"}
    worker.clear(first)
    assert guard.claims() == ["$JS.ACK.two.2"]
    worker.put("$JS.ACK.3")
    worker.clear(second)
    assert guard.claims() == ["$JS.ACK.3"]


def test_what_the_table_has_no_room_for_is_left_out(
    tables: tuple[LeaseTable, LeaseTable],
) -> None:
    worker, guard = tables
    assert worker.put("x" * 255) == NO_SLOT
    assert all(worker.put(str(n)) != NO_SLOT for n in range(CAPACITY))
    assert worker.put("one more") == NO_SLOT
    assert len(guard.claims()) == CAPACITY
