"""Who lives keeps its runs, who does not loses them within a lease."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import pytest
from nats_clients import OpenBroker, Run, WithBrokers
from nats_servers import NatsServer
from processes import freeze, is_alive
from waiting import until

from jtask.contract import Delivery, Message
from jtask.ids import RunIds
from jtask_nats.broker import NatsBroker
from jtask_nats.queues.deliveries import NatsDelivery
from jtask_nats.queues.holders import Holders
from jtask_nats.queues.redeliveries import Redeliveries, Verdict
from jtask_nats.queues.releases import Releases

LEASE = 2.0  # seconds

# Takes one run, says so, does something, and acks it.
WORKER = """
import asyncio, sys, time
from jtask.settings import Settings
from jtask_nats.access import Access
from jtask_nats.broker import NatsBroker
from jtask_nats.client.connection import Connection
from jtask_nats.settings import NatsSettings

async def main():
    url, lease = sys.argv[1], float(sys.argv[2])
    connection = await Connection.open([url], name="worker", connect_timeout=20.0)
    settings = Settings(lease=lease)
    own, access = NatsSettings(), Access((url,))
    broker = await NatsBroker.open(connection, "0123456789", settings, own, access)
    taken = asyncio.get_running_loop().create_future()
    await broker.runs.consume(["mails"], 1, taken.set_result)
    delivery = await taken
    print("taken", broker.runs._leases._guard.pid, flush=True)
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


class Worker:
    """A process that has taken a run and now does some work."""

    def __init__(self, url: str, work: str) -> None:
        program = WORKER + work + "\nasyncio.run(main())\n"
        command = [sys.executable, "-c", program, url, str(LEASE)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.guard = 0
        """The pid of what keeps its leases while it cannot."""

    async def has_taken(self) -> None:
        word, guard = await self._line()
        assert word == "taken"
        self.guard = int(guard)

    async def has_acked(self) -> None:
        assert await self._line() == ["done"]

    async def _line(self) -> list[str]:
        assert self.process.stdout is not None
        return (await asyncio.to_thread(self.process.stdout.readline)).split()


StartWorker = Callable[[str], Awaitable[Worker]]


@pytest.fixture
def start_worker(nats_server: NatsServer) -> Iterator[StartWorker]:
    """Start a process that does a kind of work, and wait until it has taken a run."""
    started: list[Worker] = []

    async def start(work: str) -> Worker:
        worker = Worker(nats_server.url, work)
        started.append(worker)
        await worker.has_taken()
        return worker

    yield start
    for worker in started:
        worker.process.kill()
        worker.process.communicate()


@pytest.fixture
def run() -> Run:
    """One loop will do: what counts here happens in other threads and processes."""
    return asyncio.run


async def enqueue_one(open_broker: OpenBroker) -> NatsBroker:
    broker = await open_broker(lease=LEASE)
    await broker.runs.enqueue([Message(RunIds().new(), "mails", b"{}")])
    return broker


async def lost_runs(open_broker: OpenBroker) -> list[Delivery]:
    """Start another worker of the same queue, and return what it gets: what the first one loses."""
    lost: list[Delivery] = []
    broker = await open_broker(lease=LEASE)
    await broker.runs.consume(["mails"], 10, lost.append)
    return lost


async def is_empty(broker: NatsBroker) -> bool:
    return await broker.queues.depth("mails") == 0


def test_a_run_is_kept_while_its_task_blocks_a_thread(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker(lease=1)
        taken: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        await broker.runs.consume(["mails"], 1, taken.set_result)
        await broker.runs.enqueue([Message(RunIds().new(), "mails", b"{}")])
        delivery = await taken
        lost = await lost_runs(open_broker)
        await asyncio.to_thread(threading.Event().wait, 3.0)  # three leases
        delivery.ack()
        await until(lambda: is_empty(broker))
        assert lost == []

    with_brokers(main)


def test_a_run_is_kept_while_its_task_holds_the_interpreter(
    with_brokers: WithBrokers, start_worker: StartWorker
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await enqueue_one(open_broker)
        worker = await start_worker(BUSY)
        lost = await lost_runs(open_broker)
        await worker.has_acked()
        await until(lambda: is_empty(broker))
        assert lost == []

    with_brokers(main)


def test_a_run_of_a_stopped_worker_goes_to_another(
    with_brokers: WithBrokers, start_worker: StartWorker
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        await enqueue_one(open_broker)
        worker = await start_worker(BUSY)
        freeze(worker.process.pid)
        lost = await lost_runs(open_broker)
        await until(lambda: len(lost) == 1)
        assert (lost[0].redelivered, lost[0].lost_workers) == (True, 1)

    with_brokers(main)


def test_a_run_of_a_stuck_worker_goes_to_another(
    with_brokers: WithBrokers, start_worker: StartWorker
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        await enqueue_one(open_broker)
        await start_worker(STUCK)
        lost = await lost_runs(open_broker)
        await until(lambda: len(lost) == 1)
        assert (lost[0].redelivered, lost[0].lost_workers) == (True, 1)

    with_brokers(main)


def test_each_who_asks_for_a_run_is_answered_whoever_asked_before(
    with_brokers: WithBrokers,
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        holder, asker = await open_broker(), await open_broker(lease=LEASE)
        taken: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        await holder.runs.consume(["mails"], 1, taken.set_result)
        await holder.runs.enqueue([Message(RunIds().new(), "mails", b"{}")])
        held, free = (await taken).run_id, RunIds().new()
        holders = Holders(asker._session)
        first = asyncio.create_task(holders.hold(free))
        await asyncio.sleep(0.1)  # so that the first gives up while the second still waits
        answers = await asyncio.gather(
            first, *map(holders.hold, [free, held, held]), return_exceptions=True
        )
        assert answers == [False, False, True, True]
        holders.close()

    with_brokers(main)


def test_a_run_in_doubt_that_a_living_worker_has_is_left_to_it(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        holder, other = await open_broker(), await open_broker(lease=LEASE)
        taken: asyncio.Future[NatsDelivery] = asyncio.get_running_loop().create_future()
        await holder.runs.consume(["mails"], 1, cast("Any", taken.set_result))
        await holder.runs.enqueue([Message(RunIds().new(), "mails", b"{}")])
        held = await taken
        holders = Holders(other._session)
        assert await holders.all_held() == {held.run_id}
        holders.close()
        held.doubt()
        redeliveries = Redeliveries(other._session, Releases(other.counters))
        assert await redeliveries.judge(held) is Verdict.HELD
        redeliveries.close()

    with_brokers(main)


def test_who_got_no_time_itself_waits_on_for_the_answer(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        holder, asker = await open_broker(), await open_broker(lease=1)
        taken: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        await holder.runs.consume(["mails"], 1, taken.set_result)
        await holder.runs.enqueue([Message(RunIds().new(), "mails", b"{}")])
        holders = Holders(asker._session)
        asked = asyncio.create_task(holders.hold((await taken).run_id))
        await asyncio.sleep(0)
        time.sleep(0.5)  # twice what it waits for the answer
        assert await asked is True
        holders.close()

    with_brokers(main)


def test_what_a_worker_holds_is_not_shown_as_waiting_though_who_asks_got_no_time(
    with_brokers: WithBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        holder, asker = await open_broker(), await open_broker()
        taken: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        await holder.runs.consume(["mails"], 1, taken.set_result)
        await holder.runs.enqueue([Message(RunIds().new(), "mails", b"{}")])
        await taken
        connection, held = asker._session.connection, asker._session.subjects.held
        send = connection.send

        def send_and_stall(subject: str, *args: Any, **options: Any) -> None:
            send(subject, *args, **options)
            if subject == held:
                asyncio.get_running_loop().call_soon(time.sleep, 0.5)  # twice what it waits

        monkeypatch.setattr(connection, "send", send_and_stall)
        assert [run async for run in asker.queues.waiting("mails")] == []

    with_brokers(main)


def test_a_run_whose_state_could_not_be_found_out_is_delivered_again(
    with_brokers: WithBrokers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    judge = Redeliveries.judge
    judged: list[str] = []

    async def fail_at_first(self: Redeliveries, delivery: NatsDelivery) -> Verdict:
        judged.append(delivery.run_id)
        if len(judged) == 1:
            raise RuntimeError("an error that nobody foresaw")
        return await judge(self, delivery)

    async def main(open_broker: OpenBroker) -> None:
        broker = await enqueue_one(open_broker)
        taken: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        consumption = await broker.runs.consume(["mails"], 1, taken.set_result)
        await (await taken).release()
        await consumption.close()
        again = await lost_runs(open_broker)
        await until(lambda: again)
        assert judged == [again[0].run_id] * 2

    monkeypatch.setattr(Redeliveries, "judge", fail_at_first)
    with_brokers(main)
    assert "could not be judged" in caplog.text


def test_the_guard_ends_with_its_worker(
    with_brokers: WithBrokers, start_worker: StartWorker
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        await enqueue_one(open_broker)
        worker = await start_worker(STUCK)
        assert is_alive(worker.guard)
        worker.process.kill()
        await until(lambda: not is_alive(worker.guard))

    with_brokers(main)


def test_a_broker_has_a_guard_from_its_first_run_to_its_close(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        guard = broker.runs._leases._guard
        guards: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        await broker.runs.consume(["mails"], 1, lambda delivery: guards.set_result(guard.pid))
        assert guard.pid is None
        await broker.runs.enqueue([Message(RunIds().new(), "mails", b"{}")])
        pid = await guards
        assert pid is not None
        assert is_alive(pid)
        await broker.close()
        assert not is_alive(pid)

    with_brokers(main)


def test_a_guard_has_nothing_to_guard_once_the_consumption_is_closed(
    with_brokers: WithBrokers,
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        taken: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        consumption = await broker.runs.consume(["mails"], 1, taken.set_result)
        await broker.runs.enqueue([Message(RunIds().new(), "mails", b"{}")])
        delivery = await taken
        table = broker.runs._leases._guard._table
        assert table is not None
        assert table.holds_any()
        await consumption.close()
        assert not table.holds_any()
        # Settled late, it frees no slot that another may have by now.
        delivery.ack()
        first, second = table.put("one"), table.put("two")
        assert first != second

    with_brokers(main)
