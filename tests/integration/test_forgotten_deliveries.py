"""A server that was killed has forgotten what it delivered last: that is not taken for new.

What it forgets is put back here: its files of a moment before the deliveries.
"""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from nats_clients import OpenBroker, WithBrokers
from nats_servers import NatsServer
from waiting import until

from jtask.contract import Delivery, Message
from jtask.ids import RunIds
from jtask_nats.broker import NatsBroker
from jtask_nats.queues import doubts

RUN_IDS = RunIds()


class Worker:
    """Acknowledges all that it gets."""

    def __init__(self) -> None:
        self.got: list[Delivery] = []

    def receive(self, delivery: Delivery) -> None:
        self.got.append(delivery)
        delivery.ack()

    def has_had(self, runs: list[Message]) -> Callable[[], bool]:
        return lambda: {run.run_id for run in runs} <= {it.run_id for it in self.got}


class Memory:
    """What a server knows of runs, which it can be made to know again."""

    def __init__(self, server: NatsServer, place: Path) -> None:
        self._server = server
        self._files, self._copy = server.folder_of_consumer("mails_0").parents[1], place / "copy"

    def keep(self) -> None:
        self._server.kill()
        shutil.copytree(self._files, self._copy)
        self._server.start()

    def recall(self) -> None:
        self._server.kill()
        shutil.rmtree(self._files)
        shutil.copytree(self._copy, self._files)
        self._server.start()


@pytest.fixture
def memory(nats_server: NatsServer, tmp_path: Path) -> Memory:
    return Memory(nats_server, tmp_path)


def new_runs(count: int) -> list[Message]:
    return [Message(run_id, "mails", b"{}") for run_id in RUN_IDS.new_many(count)]


async def use_queue(broker: NatsBroker, worker: Worker) -> None:
    """Have a run executed, so that its consumer has delivered something."""
    consumption = await broker.runs.consume(["mails"], 10, worker.receive)
    await broker.runs.enqueue(before := new_runs(1))
    await until(worker.has_had(before))
    await consumption.close()


def second_ones(worker: Worker, runs: list[Message], first: int) -> Callable[[], bool]:
    """Tell whether all runs came a second time, after the first so many deliveries."""
    wanted = {run.run_id for run in runs}
    return lambda: {it.run_id for it in worker.got[first:]} == wanted


@pytest.mark.parametrize("grace", [3.0, 0.0], ids=["soon", "long after"])
def test_a_worker_that_lived_on_doubts_what_it_is_given_as_new(
    grace: float, memory: Memory, with_brokers: WithBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long it takes until something is delivered again: what is over stays over.
    monkeypatch.setattr("jtask_nats.queues.redeliveries.RECONNECT_GRACE", grace)

    async def main(open_broker: OpenBroker) -> None:
        broker, worker = await open_broker(), Worker()
        before, forgotten = new_runs(3), new_runs(5)
        consumption = await broker.runs.consume(["mails"], 10, worker.receive)
        await broker.runs.enqueue(before)
        await until(worker.has_had(before))
        consumption.set_credit(0)
        await broker.runs.enqueue(forgotten)
        memory.keep()
        consumption.set_credit(10)
        await until(worker.has_had(forgotten))
        first = len(worker.got)
        memory.recall()
        await until(second_ones(worker, forgotten, first))
        assert all(it.redelivered for it in worker.got[first:])
        await broker.runs.enqueue(later := new_runs(2))
        await until(worker.has_had(later))
        assert [it.redelivered for it in worker.got[-2:]] == [False, False]

    with_brokers(main)


def test_a_worker_that_starts_afterwards_doubts_what_it_is_given_as_new(
    memory: Memory, with_brokers: WithBrokers
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, worker = await open_broker(), Worker()
        await use_queue(broker, worker)
        await broker.runs.enqueue(forgotten := new_runs(5))
        memory.keep()
        consumption = await broker.runs.consume(["mails"], 10, worker.receive)
        await until(worker.has_had(forgotten))
        await consumption.close()
        await broker.close()
        memory.recall()
        other, second = await open_broker(), Worker()
        await other.runs.consume(["mails"], 10, second.receive)
        await until(second.has_had(forgotten))
        assert all(it.redelivered for it in second.got)

    with_brokers(main)


def test_workers_of_a_new_queue_doubt_nothing(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, other, worker = await open_broker(), await open_broker(), Worker()
        await broker.runs.enqueue(runs := new_runs(30))
        first = broker.runs.consume(["mails"], 3, worker.receive)
        await asyncio.gather(first, other.runs.consume(["mails"], 3, worker.receive))
        await until(worker.has_had(runs))
        assert not any(it.redelivered for it in worker.got)

    with_brokers(main)


def test_of_a_long_backlog_only_the_first_is_doubted(
    memory: Memory, with_brokers: WithBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "_SECONDS", 0.0)
    monkeypatch.setattr(doubts, "_AT_LEAST", 20)

    async def main(open_broker: OpenBroker) -> None:
        broker, worker = await open_broker(), Worker()
        await use_queue(broker, worker)
        await broker.runs.enqueue(backlog := new_runs(50))
        memory.keep()
        await broker.runs.consume(["mails"], 10, worker.receive)
        await until(worker.has_had(backlog))
        assert sum(it.redelivered for it in worker.got) == 20

    with_brokers(main)


def test_who_doubts_many_runs_asks_for_all_of_them_at_once(
    memory: Memory, with_brokers: WithBrokers
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, worker = await open_broker(), Worker()
        await use_queue(broker, worker)
        await broker.runs.enqueue(backlog := new_runs(40))
        memory.keep()
        other = await open_broker()
        questions: list[bytes] = []
        held = other._session.subjects.held
        other._connection.subscribe(
            held, lambda subject, reply, data, block: questions.append(data)
        )
        await other._connection.flush()
        await broker.runs.consume(["mails"], 4, worker.receive)
        await until(worker.has_had(backlog))
        assert set(questions) == {b"*"}
        assert all(it.redelivered for it in worker.got[1:])

    with_brokers(main)
