"""Pauses, records and questions on a real server that dies, forgets, or loses an answer."""

import asyncio
import itertools
import shutil
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from nats_clients import OpenBroker, WithBrokers
from nats_servers import NatsServer, Proxy
from waiting import until

from jtask.contract import Delivery, Message
from jtask.errors import BrokerUnavailable
from jtask.ids import RunIds
from jtask_nats.broker import NatsBroker
from jtask_nats.client import direct_reads
from jtask_nats.client.connection import Connection
from jtask_nats.queues import puller
from jtask_nats.queues.queue_counts import Extent

RUN_IDS = RunIds()


def message(queue: str, **fields: Any) -> Message:
    return Message(RUN_IDS.new(), queue, b"{}", **fields)


async def api(broker: NatsBroker, suffix: str, payload: dict[str, Any] | None = None) -> Any:
    return await broker._connection.api(suffix, payload)


async def is_paused(broker: NatsBroker, consumer: str) -> bool:
    return bool((await api(broker, f"CONSUMER.INFO.JTASK_default.{consumer}")).get("paused"))


async def shown(broker: NatsBroker) -> list[str]:
    return [run.run_id async for run in broker.queues.waiting()]


def test_a_consumer_that_the_server_lost_comes_back_paused(
    with_brokers: WithBrokers, nats_server: NatsServer
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, got = await open_broker(lease=1), list[Delivery]()
        consumption = await broker.runs.consume(["mails"], 10, got.append)
        await broker.queues.pause("mails")
        nats_server.kill()
        shutil.rmtree(nats_server.folder_of_consumer("mails_0"))
        await asyncio.to_thread(nats_server.start)
        await broker.runs.enqueue([message("mails")])

        async def is_back() -> bool:
            return (await api(broker, "CONSUMER.NAMES.JTASK_default"))["consumers"] == ["mails_0"]

        await until(is_back)
        await until(lambda: consumption.problem() is None)
        assert await is_paused(broker, "mails_0")
        assert got == []
        assert await broker.queues.resume("mails") is True
        await until(lambda: got)

    with_brokers(main)


def test_a_pause_and_a_worker_that_come_at_the_same_moment_agree(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, other = await open_broker(), await open_broker()
        for number in range(20):
            queue = f"mails-{number}"
            await asyncio.gather(
                broker.queues.pause(queue),
                other.runs.consume([queue], 1, lambda _: None),
                broker.runs.enqueue([message(queue, priority=7)]),
            )
            assert await is_paused(broker, f"{queue}_0")
            assert await is_paused(broker, f"{queue}_7")

    with_brokers(main)


def test_a_resumption_and_a_worker_that_come_at_the_same_moment_agree(
    with_brokers: WithBrokers,
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, other = await open_broker(), await open_broker()
        for number in range(20):
            queue = f"mails-{number}"
            await broker.queues.pause(queue)
            await asyncio.gather(
                other.runs.consume([queue], 1, lambda _: None),
                broker.queues.resume(queue),
                broker.runs.enqueue([message(queue, priority=7)]),
            )
            assert not await is_paused(broker, f"{queue}_0")
            assert not await is_paused(broker, f"{queue}_7")

    with_brokers(main)


def test_urgent_runs_all_begin_at_once_where_nothing_else_was_urgent_before(
    with_brokers: WithBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody is to wait for the end of the pull that asks for all that there is room for.
    endless = {**puller._OPTIONS[puller.PullMode.LONG], "expires": 3_600_000_000_000}
    monkeypatch.setitem(puller._OPTIONS, puller.PullMode.LONG, endless)
    monkeypatch.setattr(puller, "_request", puller._request.__wrapped__)

    async def main(open_broker: OpenBroker) -> None:
        broker, got = await open_broker(), list[Delivery]()
        await broker.runs.consume(["mails"], 10, got.append)
        await broker.runs.enqueue([message("mails", priority=7) for _ in range(3)])
        await until(lambda: len(got) == 3)

    with_brokers(main)


def test_a_pause_that_somebody_only_half_ended_can_be_ended(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        await broker.runs.consume(["mails"], 1, lambda _: None)
        await broker.queues.pause("mails")
        await api(broker, "STREAM.PURGE.JTASK_default_RECORDS")
        assert await broker.queues.resume("mails") is True
        assert not await is_paused(broker, "mails_0")

    with_brokers(main)


def test_a_pause_is_no_record_that_anybody_sees(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        await broker.queues.pause("mails")
        for bucket in ("pauses", "=pauses", "*", ">"):
            assert await broker.records.list(bucket) == []

    with_brokers(main)


def test_a_record_whose_answer_was_lost_is_known_to_be_stored(
    with_brokers: WithBrokers, proxy: Proxy
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        await broker.records.list("any")  # the stream is there
        for revision in (0, None):
            proxy.cut_before_answer = b'"stream":"JTASK_default_RECORDS"'
            assert await broker.records.put("any", "key", b"one", revision=revision) is True
        assert proxy.cuts == 2
        assert await broker.records.put("any", "key", b"one", revision=0) is False
        record = await broker.records.get("any", "key")
        assert record is not None
        assert record.revision == 2

    with_brokers(main, proxy)


def test_what_a_request_deleted_whose_answer_was_lost_is_known_to_be_deleted(
    with_brokers: WithBrokers, proxy: Proxy
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        delayed, waiting = message("mails", at=time.time() + 3600), message("mails")
        await broker.runs.enqueue([delayed, waiting])
        await broker.records.put("any", "key", b"one")
        await broker.queues.pause("mails")
        deletions = (
            (b'"purged":1', partial(broker.records.delete, "any", "key")),
            (b'"purged":1', partial(broker.queues.resume, "mails")),
            (b'"purged":1', partial(broker.runs.cancel, delayed.run_id)),
            (b'"success":true', partial(broker.runs.cancel, waiting.run_id)),
        )
        for number, (answer, delete) in enumerate(deletions, start=1):
            proxy.cut_before_answer = answer
            assert await delete() is True
            assert proxy.cuts == number
            assert await delete() is False

    with_brokers(main, proxy)


def test_it_is_known_to_be_deleted_although_another_server_still_has_it(
    with_brokers: WithBrokers, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        await broker.records.put("any", "key", b"one")

        async def outdated(*_: object) -> direct_reads.StoredMessage:
            return direct_reads.StoredMessage("x", 1, "2026-12-01T00:00:00Z", b"", b"one")

        monkeypatch.setattr(Connection, "is_cluster", property(lambda _: True))
        monkeypatch.setattr(direct_reads, "_single", outdated)
        proxy.cut_before_answer = b'"purged":1'
        assert await broker.records.delete("any", "key") is True
        assert proxy.cuts == 1

    with_brokers(main, proxy)


def test_what_has_replaced_a_record_is_not_said_to_be_deleted_when_an_answer_is_lost(
    with_brokers: WithBrokers, proxy: Proxy
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        await broker.records.put("any", "key", b"one")
        first = await broker.records.get("any", "key")
        assert first is not None
        await broker.records.put("any", "key", b"two")
        proxy.cut_before_answer = b'"purged":0'
        assert await broker.records.delete("any", "key", revision=first.revision) is False
        assert proxy.cuts == 1
        second = await broker.records.get("any", "key")
        assert second is not None
        assert second.body == b"two"

    with_brokers(main, proxy)


def test_a_question_to_a_server_that_is_gone_says_so(
    with_brokers: WithBrokers, nats_server: NatsServer
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        nats_server.kill()
        await until(lambda: not broker._connection.is_connected)
        with pytest.raises(BrokerUnavailable):
            await broker.requests.ask("who", b"", timeout=0.1)

    with_brokers(main)


def test_each_run_is_tried_as_long_as_the_setting_says_while_the_server_is_away(
    with_brokers: WithBrokers, nats_server: NatsServer
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker(enqueue_timeout=0.3)
        await broker.runs.enqueue([message("mails")])
        nats_server.kill()
        await until(lambda: not broker._connection.is_connected)
        # From the second on, the streams have to be looked at again.
        for queue in ("mails", "mails", "calls"):
            with pytest.raises(BrokerUnavailable, match=r"within 0\.3 s \(not connected\)"):
                await broker.runs.enqueue([message(queue)])
        with pytest.raises(BrokerUnavailable, match=r"within 0\.3 s \(not connected\)"):
            await broker.blobs.put("large", b"x")

    with_brokers(main)


def test_a_run_whose_worker_died_is_shown_and_one_in_hand_is_not(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, got = await open_broker(), list[Delivery]()
        living, dying = await open_broker(), await open_broker()
        held, lost = message("mails"), message("calls")
        await living.runs.consume(["mails"], 1, got.append)
        await dying.runs.consume(["calls"], 1, got.append)
        await broker.runs.enqueue([held, lost])
        await until(lambda: len(got) == 2)
        assert await shown(broker) == []
        await dying.close()
        assert await shown(broker) == [lost.run_id]

    with_brokers(main)


def test_a_run_is_shown_once_though_it_comes_due_meanwhile(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        later = [message("calls", at=time.time() + 3600) for _ in range(1600)]
        await broker.runs.enqueue(later)
        begun = time.time()
        soon = [message("mails", at=begun + 0.3 + number / 1000) for number in range(400)]
        await broker.runs.enqueue(soon)
        wanted = sorted(one.run_id for one in [*soon, *later])
        looks = 0
        while time.time() < begun + 0.8 or looks < 3:
            assert sorted(await shown(broker)) == wanted
            looks += 1

    with_brokers(main)


def test_a_run_at_a_priority_without_a_consumer_is_counted(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        await broker.runs.consume(["mails"], 0, lambda _: None)
        await broker.runs.enqueue(
            [message("mails"), message("mails", priority=3), message("calls")]
        )
        await api(broker, "CONSUMER.DELETE.JTASK_default.mails_3")
        assert [info[:3] for info in await broker.queues.list()] == [
            ("calls", 1, 0),
            ("mails", 2, 0),
        ]

    with_brokers(main)


def test_no_queue_is_overlooked_while_runs_come_and_go(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, other = await open_broker(), await open_broker()
        await other.runs.consume(["mails"], 100, lambda delivery: delivery.ack())
        await broker.runs.enqueue([message("calls")])
        producing = True

        async def produce() -> None:
            while producing:
                await other.runs.enqueue([message("mails") for _ in range(5)])

        producer = asyncio.create_task(produce())
        for _ in range(100):
            assert "calls" in [info.name for info in await broker.queues.list()]
        producing = False
        await producer

    with_brokers(main)


def test_queues_are_counted_without_listing_their_runs_while_runs_come_and_go(
    with_brokers: WithBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        producer = await open_broker()
        await producer.runs.enqueue([message("calls")])
        await producer.runs.enqueue([message("plans", at=time.time() + 3600)])
        # As a program that only enqueues one run: what it has begun to write down arrives.
        await producer.close()
        broker, other = await open_broker(), await open_broker()
        await other.runs.consume(["mails"], 0, lambda _: None)
        monkeypatch.setattr(broker.queues, "_extent", changing_extents(broker.queues._extent))
        monkeypatch.setattr(broker.queues, "_with_listed", never)
        await other.runs.enqueue([message("mails"), message("mails", priority=3)])
        assert [info[:4] for info in await broker.queues.list()] == [
            ("calls", 1, 0, 0),
            ("mails", 2, 0, 0),
            ("plans", 0, 0, 1),
        ]

    with_brokers(main)


def changing_extents(extent: Callable[[], Awaitable[Extent]]) -> Callable[[], Awaitable[Extent]]:
    """Have each look at the streams show that another run has come and gone."""
    looks = itertools.count()

    async def changing() -> Extent:
        return (await extent())._replace(last_sequences=(next(looks),))

    return changing


async def never() -> Any:
    raise AssertionError("the subject of each run was listed")


def test_a_queue_that_nobody_wrote_down_is_found_and_written_down(
    with_brokers: WithBrokers,
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        producer, broker = await open_broker(), await open_broker()
        await producer.runs.enqueue([message("calls")])
        await producer.close()
        await api(broker, "STREAM.PURGE.JTASK_default_RECORDS")
        assert await broker.queues._register.names() == set()
        assert [info[:2] for info in await broker.queues.list()] == [("calls", 1)]

        async def is_written_down() -> bool:
            return await (await open_broker()).queues._register.names() == {"calls"}

        await until(is_written_down)

    with_brokers(main)


def test_a_parked_run_is_shown_before_its_worker_has_let_go_of_it(
    with_brokers: WithBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, got = await open_broker(), list[Delivery]()
        await broker.runs.consume(["mails"], 10, got.append)
        await broker.runs.enqueue([message("mails")])
        await until(lambda: got)
        monkeypatch.setattr("jtask_nats.queues.deliveries.InFlight.respond", lambda *_: None)
        await got[0].park("database", time.time() + 3600)
        assert [run.is_parked async for run in broker.queues.waiting("mails")] == [True]

    with_brokers(main)
