"""Consuming from a real server that dies, forgets, or is shared."""

import asyncio
import contextlib
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from nats_clients import OpenBroker, WithBrokers
from nats_clients import open_broker as open_broker_on
from nats_servers import NatsServer, StartNats
from waiting import until

from jtask.contract import Delivery, Message
from jtask.errors import JTaskError
from jtask.ids import RunIds
from jtask_nats.broker import NatsBroker
from jtask_nats.client.purging import Deleted
from jtask_nats.queues.consumption import NatsConsumption
from jtask_nats.queues.deletion import delete_message
from jtask_nats.queues.deliveries import NatsDelivery
from jtask_nats.queues.holders import Holders
from jtask_nats.streams.server_clock import ServerClock

RUN_IDS = RunIds()


USERS = """
authorization {
  users: [
    { user: admin, password: pw }
    { user: producer, password: pw, permissions: {
      publish: ["jtask.default.q.>", "jtask.default.s.>", "jtask.default.c.>"]
      subscribe: ["_INBOX.>", "jtask.default.o.>"] } }
    { user: worker, password: pw, permissions: {
      publish: ["$JS.API.CONSUMER.MSG.NEXT.JTASK_default.>", "$JS.ACK.JTASK_default.>",
                "jtask.default.q.>", "jtask.default.s.>", "jtask.default.r.>",
                "jtask.default.e.>", "jtask.default.d.>"]
      subscribe: ["_INBOX.>", "jtask.default.c.>"] } }
  ]
}
"""


def runs(queue: str, count: int, **fields: Any) -> list[Message]:
    return [Message(run_id, queue, b"{}", **fields) for run_id in RUN_IDS.new_many(count)]


class Worker:
    def __init__(self, acks: bool = True) -> None:
        self.got: list[Delivery] = []
        self.at: list[float] = []
        self._acks = acks

    def receive(self, delivery: Delivery) -> None:
        self.got.append(delivery)
        self.at.append(time.time())
        if self._acks:
            delivery.ack()

    @property
    def ids(self) -> set[str]:
        return {delivery.run_id for delivery in self.got}


def ids(messages: list[Message]) -> set[str]:
    return {message.run_id for message in messages}


async def holder_of_one_run(broker: NatsBroker) -> Worker:
    """Start a worker that has got a run and does not ack it."""
    worker = Worker(acks=False)
    await broker.runs.consume(["mails"], 10, worker.receive)
    await broker.runs.enqueue(runs("mails", 1))
    await until(lambda: len(worker.got) == 1)
    return worker


async def has_stored(broker: NatsBroker, count: int) -> bool:
    info = await broker._connection.api("STREAM.INFO.JTASK_default")
    return bool(info["state"]["messages"] == count)


def test_a_worker_pulls_again_from_a_server_that_was_killed(
    with_brokers: WithBrokers, nats_server: NatsServer
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, worker = await open_broker(), Worker()
        consumption = await broker.runs.consume(["mails"], 10, worker.receive)
        nats_server.kill()
        await until(lambda: consumption.problem() is not None)
        assert "lost" in (consumption.problem() or "")
        await asyncio.to_thread(nats_server.start)
        later = runs("mails", 5)
        await broker.runs.enqueue(later)
        await until(lambda: worker.ids == ids(later))
        await until(lambda: consumption.problem() is None)

    with_brokers(main)


def test_a_worker_makes_a_deleted_consumer_again(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, worker = await open_broker(), Worker()
        await broker.runs.consume(["mails"], 10, worker.receive)
        api = broker._connection.api

        async def has_asked() -> bool:
            return bool((await api("CONSUMER.INFO.JTASK_default.mails_0"))["num_waiting"])

        await until(has_asked)
        await api("CONSUMER.DELETE.JTASK_default.mails_0")
        later = runs("mails", 5)
        await broker.runs.enqueue(later)
        await until(lambda: worker.ids == ids(later))

    with_brokers(main)


def test_what_counts_losses_is_in_place_before_one_is_lost(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        await broker.runs.consume(["mails"], 10, Worker().receive)
        assert await broker._connection.api("STREAM.INFO.JTASK_default_TALLIES")

    with_brokers(main)


def lose(folder: Path) -> None:
    while folder.exists():
        # The server may be writing there in the same moment.
        shutil.rmtree(folder, ignore_errors=True)


def test_a_consumer_without_its_folder_is_made_again(
    with_brokers: WithBrokers, nats_server: NatsServer
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        first, second = await open_broker(), await open_broker()
        worker, other = Worker(), Worker()
        await first.runs.consume(["mails"], 10, worker.receive)
        folder = nats_server.folder_of_consumer("mails_0")
        lose(folder)
        await second.runs.consume(["mails"], 10, other.receive)
        assert folder.exists()
        await first.runs.enqueue(sent := runs("mails", 20))
        await until(lambda: worker.ids | other.ids == ids(sent))

    with_brokers(main)


def test_a_consumer_without_its_folder_stays_while_a_run_is_held(
    with_brokers: WithBrokers, nats_server: NatsServer
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        first, second = await open_broker(), await open_broker()
        holder, other = Worker(acks=False), Worker()
        await first.runs.enqueue(held := runs("mails", 1))
        await first.runs.consume(["mails"], 1, holder.receive)
        await until(lambda: holder.ids == ids(held))
        lose(nats_server.folder_of_consumer("mails_0"))
        await second.runs.consume(["mails"], 10, other.receive)
        await first.runs.enqueue(sent := runs("mails", 5))
        await until(lambda: other.ids == ids(sent))
        holder.got[0].ack()

    with_brokers(main)


async def hold_one(open_broker: OpenBroker) -> tuple[NatsBroker, NatsBroker, Message]:
    """Return a broker whose worker holds a run, another one, and the run."""
    broker, worker, caller = await open_broker(), Worker(acks=False), await open_broker()
    await broker.runs.consume(["mails"], 1, worker.receive)
    [held] = runs("mails", 1)
    await caller.runs.enqueue([held])
    await until(lambda: worker.ids == {held.run_id})
    return broker, caller, held


def test_a_run_that_only_its_worker_knows_of_is_not_cancelled_as_a_waiting_one(
    with_brokers: WithBrokers,
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, caller, held = await hold_one(open_broker)
        api = broker._connection.api
        consumer = "JTASK_default.mails_0"
        config = (await api(f"CONSUMER.INFO.{consumer}"))["config"]
        # Forget what was delivered, as a server does that is killed a moment later.
        await api(f"CONSUMER.DELETE.{consumer}")
        await api(f"CONSUMER.CREATE.{consumer}", {"stream_name": "JTASK_default", "config": config})
        assert await caller.runs.cancel(held.run_id) is False

    with_brokers(main)


def test_a_run_that_a_slow_worker_received_just_before_its_deletion_is_not_cancelled(
    with_brokers: WithBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = NatsConsumption._on_held_request

    def answer_late(consumption: NatsConsumption, *question: Any) -> None:
        # Longer than workers have as a rule, shorter than one has that is known to have a run.
        asyncio.get_running_loop().call_later(1.0, answer, consumption, *question)

    monkeypatch.setattr(NatsConsumption, "_on_held_request", answer_late)

    async def main(open_broker: OpenBroker) -> None:
        broker, worker, caller = await open_broker(), Worker(acks=False), await open_broker()

        async def delete_what_was_just_delivered(*place: Any) -> Deleted:
            await broker.runs.consume(["mails"], 1, worker.receive)
            await until(lambda: worker.ids == {held.run_id})
            return await delete_message(*place)

        monkeypatch.setattr("jtask_nats.queues.runs.delete_message", delete_what_was_just_delivered)
        [held] = runs("mails", 1)
        await caller.runs.enqueue([held])
        assert await caller.runs.cancel(held.run_id) is False

    with_brokers(main)


@pytest.mark.parametrize("run", ["asyncio"], indirect=True)
def test_a_worker_outlives_that_its_consumer_is_deleted_and_made_again_all_the_time(
    with_brokers: WithBrokers, nats_server: NatsServer
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, worker = await open_broker(), Worker()
        consumption = await broker.runs.consume(["mails"], 10, worker.receive)
        api = broker._connection.api
        consumer = "JTASK_default.mails_0"
        config = (await api(f"CONSUMER.INFO.{consumer}"))["config"]
        order = {"stream_name": "JTASK_default", "config": config}
        sent: list[Message] = []
        for _ in range(40):
            await broker.runs.enqueue(more := runs("mails", 2))
            sent += more
            # The server is still deleting the old one's folder when the new one gets it.
            changes = [
                api(f"CONSUMER.DELETE.{consumer}"),
                api(f"CONSUMER.CREATE.{consumer}", order),
            ]
            await asyncio.gather(*changes, return_exceptions=True)
            await asyncio.sleep(0.01)
        await until(lambda: worker.ids == ids(sent))
        await until(lambda: consumption.problem() is None)
        # The last one is made by the worker, which looks after its folder.
        await api(f"CONSUMER.DELETE.{consumer}")
        await broker.runs.enqueue(more := runs("mails", 2))
        sent += more
        await until(lambda: worker.ids == ids(sent))
        await until(nats_server.folder_of_consumer("mails_0").exists)

    with_brokers(main)


def test_a_worker_makes_a_deleted_stream_again(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, worker = await open_broker(), Worker()
        await broker.runs.consume(["mails"], 10, worker.receive)
        await broker.runs.enqueue(first := runs("mails", 1))
        await until(lambda: worker.ids == ids(first))
        await broker._connection.api("STREAM.DELETE.JTASK_default")
        await broker.runs.enqueue(later := runs("mails", 5))
        await until(lambda: worker.ids == ids(first + later))

    with_brokers(main)


@pytest.mark.parametrize("count", [1, 3])
def test_a_producer_makes_a_deleted_stream_again(with_brokers: WithBrokers, count: int) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        await broker._connection.api("STREAM.DELETE.JTASK_default")
        await broker.runs.enqueue(runs("mails", count))
        assert await broker.queues.depth("mails") == count

    with_brokers(main)


def test_two_workers_share_a_queue(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        one, other = await open_broker(), await open_broker()
        first, second = Worker(acks=False), Worker(acks=False)
        await one.runs.consume(["mails"], 20, first.receive)
        await other.runs.consume(["mails"], 20, second.receive)
        messages = runs("mails", 40)
        await one.runs.enqueue(messages)
        await until(lambda: len(first.got) + len(second.got) == 40)
        assert len(first.got) == len(second.got) == 20
        assert first.ids | second.ids == ids(messages)

    with_brokers(main)


def test_what_a_worker_cannot_take_stays_with_the_server(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, worker = await open_broker(), Worker(acks=False)
        queues = ["one", "two", "three"]
        consumption = await broker.runs.consume(queues, 4, worker.receive)
        messages = [message for queue in queues for message in runs(queue, 20)]
        await broker.runs.enqueue(messages)
        await until(lambda: len(worker.got) == 4)
        # At most one run of each queue may be on hand beyond the credit.
        pending = 0
        for queue in queues:
            info = await broker._connection.api(f"CONSUMER.INFO.JTASK_default.{queue}_0")
            pending += info["num_ack_pending"]
        assert len(worker.got) == 4
        assert pending <= 4 + len(queues)
        while len(worker.got) < 60:
            assert len(worker.got) - settled(worker) <= 4
            await until(lambda: len(worker.got) > settled(worker))
            worker.got[settled(worker)].ack()
        assert worker.ids == ids(messages)
        await consumption.close()

    def settled(worker: Worker) -> int:
        return sum(1 for one in worker.got if not one._open)  # type: ignore[attr-defined]

    with_brokers(main)


def test_an_idle_queue_keeps_no_credit_from_a_busy_one(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, worker = await open_broker(), Worker(acks=False)
        await broker.runs.consume(["idle", "busy", "quiet"], 10, worker.receive)
        await broker.runs.enqueue(runs("busy", 50))
        await until(lambda: len(worker.got) == 10)

    with_brokers(main)


@pytest.mark.parametrize("priority", [0, 5])
def test_a_paused_queue_keeps_no_credit_from_a_busy_one(
    with_brokers: WithBrokers, priority: int
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, worker = await open_broker(), Worker(acks=False)
        await broker.runs.enqueue(runs("paused", 20, priority=priority))
        await broker.queues.pause("paused")
        await broker.runs.consume(["paused", "busy"], 10, worker.receive)
        await broker.runs.enqueue(sent := runs("busy", 50))
        await until(lambda: len(worker.got) == 10)
        assert worker.ids < ids(sent)

    with_brokers(main)


def test_a_run_is_delivered_at_its_instant_and_not_before(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, worker = await open_broker(), Worker()
        await broker.runs.consume(["mails"], 10, worker.receive)
        now = time.time()
        wanted = [now + delay for delay in (0.05, 0.2, 0.4, 0.6, 0.9, 1.3)]
        messages = [runs("mails", 1, at=at)[0] for at in wanted]
        await broker.runs.enqueue(messages)
        await until(lambda: len(worker.got) == len(wanted))
        due = {message.run_id: message.at or 0.0 for message in messages}
        for delivery, at in zip(worker.got, worker.at, strict=True):
            assert at >= due[delivery.run_id]

    with_brokers(main)


def test_what_is_on_the_way_when_a_worker_stops_goes_to_another(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        one, other = await open_broker(lease=600), await open_broker(lease=600)
        first, second = Worker(), Worker()
        consumption = await one.runs.consume(["mails"], 1000, first.receive)
        messages = runs("mails", 2000)
        storing = asyncio.create_task(other.runs.enqueue(messages))
        await until(lambda: len(first.got) > 10)
        await consumption.stop()
        await storing
        await other.runs.consume(["mails"], 1000, second.receive)
        # Long before the leases end: nothing was left to wait for that.
        await until(lambda: first.ids | second.ids == ids(messages))

    with_brokers(main)


def test_a_run_put_off_for_the_same_instant_twice_is_not_lost(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, worker = await open_broker(), Worker(acks=False)
        await broker.runs.consume(["mails"], 10, worker.receive)
        await broker.runs.enqueue(runs("mails", 1))
        instant = time.time()
        for turn in range(3):
            await until(lambda turn=turn: len(worker.got) == turn + 1)
            await worker.got[turn].reschedule(instant, b"turn %d" % turn)
        await until(lambda: len(worker.got) == 4)
        assert [one.body for one in worker.got] == [b"{}", b"turn 0", b"turn 1", b"turn 2"]
        worker.got[3].ack()

    with_brokers(main)


@pytest.mark.parametrize("delay", [0, 0.8, 60])
def test_a_run_put_off_comes_once_even_when_its_message_was_never_acked(
    with_brokers: WithBrokers, delay: float
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker(lease=1)
        worker = await holder_of_one_run(broker)
        delivery: Any = worker.got[0]
        answer, delivery.in_flight.respond = delivery.in_flight.respond, lambda *_: None
        await delivery.reschedule(time.time() + delay, b"next")
        delivery.in_flight.respond = answer
        await until(lambda: has_stored(broker, 1))  # the server has given up the first one
        await until(lambda: len(worker.got) == (1 if delay == 60 else 2))
        assert [one.body for one in worker.got[1:]] == [b"next"] * (delay != 60)

    with_brokers(main)


def test_putting_off_a_run_that_another_has_put_off_meanwhile_changes_nothing(
    with_brokers: WithBrokers,
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        worker = await holder_of_one_run(broker)
        held: Any = worker.got[0]
        other = NatsDelivery(
            held.in_flight, held.run_id, held.body, held._deliveries, held.reply, held.seq
        )
        await other.reschedule(time.time(), b"by the heir")
        await until(lambda: len(worker.got) == 2)
        worker.got[1].ack()
        held.seq = f"0{held.seq}"  # another name, as if half a minute had passed
        await held.reschedule(time.time(), b"by the former holder")
        assert await broker.queues.depth("mails") == 0

    with_brokers(main)


def test_runs_put_off_do_not_make_the_server_forget_what_a_dead_worker_held(
    with_brokers: WithBrokers, nats_server: NatsServer
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        dying = await open_broker_on(nats_server.url, lease=1)
        living = await open_broker(lease=1)
        first, second = Worker(acks=False), Worker(acks=False)
        await dying.runs.consume(["mails"], 20, first.receive)
        await living.runs.enqueue(runs("mails", 60))
        await until(lambda: len(first.got) == 20)
        await dying._connection.close()
        await living.runs.consume(["mails"], 100, second.receive)
        await until(lambda: len(second.got) == 40)
        for delivery in list(second.got):
            await delivery.reschedule(time.time(), b"again")
        await until(lambda: sum(one.body == b"again" for one in second.got) == 40)
        for delivery in second.got:
            delivery.ack()
        lost = {delivery.run_id for delivery in first.got}
        await until(lambda: lost <= {delivery.run_id for delivery in second.got})
        with contextlib.suppress(JTaskError):
            await dying.close()
        await living.close()

    with_brokers(main)


def test_a_run_whose_lease_was_lost_is_not_given_to_its_holder_again(
    with_brokers: WithBrokers,
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker(lease=1)
        worker = await holder_of_one_run(broker)
        nak = worker.got[0].reply  # type: ignore[attr-defined]
        broker._connection.send(nak, b"-NAK")  # the server thinks that nobody has it
        await until(lambda: worker.got[0].reply != nak)  # type: ignore[attr-defined]
        assert len(worker.got) == 1
        worker.got[0].ack()
        await until(lambda: has_stored(broker, 0))

    with_brokers(main)


def test_a_worker_that_wants_one_more_for_each_it_gets_gets_what_waits_here(
    with_brokers: WithBrokers,
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        got: list[Delivery] = []

        def receive(delivery: Delivery) -> None:
            got.append(delivery)
            consumption.set_credit(len(got) + 1 if is_raising else 1)

        is_raising = False
        consumption = await broker.runs.consume(["mails"], 700, receive)
        await broker.runs.enqueue(messages := runs("mails", 600))
        # All were asked for before the first one came, and those beyond the credit wait here.
        await until(lambda: len(consumption._surplus) == 599)  # type: ignore[attr-defined]
        is_raising = True
        consumption.set_credit(2)
        assert {one.run_id for one in got} == ids(messages)
        await consumption.close()

    with_brokers(main)


def test_a_run_in_hand_of_a_stopping_worker_is_not_cancelled(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, worker = await open_broker(), Worker(acks=False)
        consumption = await broker.runs.consume(["mails"], 1, worker.receive)
        await broker.runs.enqueue(messages := runs("mails", 1))
        await until(lambda: len(worker.got) == 1)
        await consumption.stop()
        assert await broker.runs.cancel(messages[0].run_id) is False
        worker.got[0].ack()

    with_brokers(main)


def test_users_with_few_permissions_can_work_where_an_admin_has_set_up(
    with_brokers: WithBrokers, start_nats: StartNats
) -> None:
    server = start_nats(config=USERS)

    async def main(open_broker: OpenBroker) -> None:
        admin = await open_broker(user="admin")
        await admin.queues.depth("mails")
        producer = await open_broker(user="producer")
        consumer, worker = await open_broker(user="worker"), Worker()
        await consumer.runs.consume(["mails"], 10, worker.receive)
        await producer.runs.enqueue(messages := runs("mails", 3))
        await until(lambda: worker.ids == ids(messages))

    with_brokers(main, server)


def test_a_run_in_hand_is_not_cancelled_and_one_handed_back_is(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, worker = await open_broker(), Worker(acks=False)
        consumption = await broker.runs.consume(["mails"], 1, worker.receive)
        held, waiting, back = runs("mails", 3)
        await broker.runs.enqueue([held, waiting, back])
        await until(lambda: len(worker.got) == 1)
        assert await broker.runs.cancel(worker.got[0].run_id) is False
        assert await broker.runs.cancel(waiting.run_id) is True
        worker.got[0].ack()
        await until(lambda: len(worker.got) == 2)
        await consumption.stop()
        await worker.got[1].release()
        assert await broker.runs.cancel(back.run_id) is True
        assert await broker.queues.depth("mails") == 0

    with_brokers(main)


@pytest.mark.parametrize("ahead", [15.0, -15.0])
def test_a_delay_lasts_as_long_as_it_should_although_the_clocks_differ(
    with_brokers: WithBrokers, ahead: float
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        serving, caller, worker = await open_broker(), await open_broker(), Worker()
        topology = caller._session.topology
        topology.clock = ServerClock(lambda: time.time() + ahead)
        await topology.recheck()
        await serving.runs.consume(["mails"], 10, worker.receive)
        begun = time.time()
        await caller.runs.enqueue(runs("mails", 1, at=begun + ahead + 1.5))
        await until(lambda: worker.got)
        # A busy machine adds to it.
        assert 1.4 < worker.at[0] - begun < 8

    with_brokers(main)


def test_a_run_is_not_taken_for_a_waiting_one_while_its_worker_is_slow_to_answer(
    with_brokers: WithBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        _, caller, held = await hold_one(open_broker)
        cancelling = asyncio.create_task(caller.runs.cancel(held.run_id))
        asked = asyncio.Event()
        send = Holders._send
        monkeypatch.setattr(Holders, "_send", lambda it: (send(it), asked.set()))
        await asked.wait()
        time.sleep(1.0)  # the machine is so busy that nobody gets any time
        assert await cancelling is False

    with_brokers(main)
