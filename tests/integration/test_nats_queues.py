"""Pauses, records and questions on a real server that dies, forgets, or loses an answer."""

import asyncio
import shutil
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from jtask.contract import Delivery, Message
from jtask.errors import BrokerUnavailable
from jtask.ids import RunIds
from jtask.settings import Settings
from jtask_nats.broker import NatsBroker
from jtask_nats.connection import Connection
from jtask_nats.lease_guard import GuardAccess

Run = Callable[[Coroutine[Any, Any, Any]], Any]
PATIENCE = 40.0  # seconds
RUN_IDS = RunIds()
CONSUMERS = "store/jetstream/$G/streams/JTASK_default/obs"


async def open_broker(url: str) -> NatsBroker:
    connection = await Connection.open([url], name="test", connect_timeout=20.0)
    access = GuardAccess((url,))
    return await NatsBroker.open(connection, RunIds().client, Settings(lease=1), access)


def message(queue: str, **fields: Any) -> Message:
    return Message(RUN_IDS.new(), queue, b"{}", **fields)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


async def api(broker: NatsBroker, suffix: str, payload: dict[str, Any] | None = None) -> Any:
    return await broker._connection.api(suffix, payload)


async def is_paused(broker: NatsBroker, consumer: str) -> bool:
    return bool((await api(broker, f"CONSUMER.INFO.JTASK_default.{consumer}")).get("paused"))


async def shown(broker: NatsBroker) -> list[str]:
    return [run.run_id async for run in broker.waiting()]


def test_a_consumer_that_the_server_lost_comes_back_paused(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        broker, got = await open_broker(nats_server.url), list[Delivery]()
        consumption = await broker.consume(["mails"], 10, got.append)
        await broker.pause_queue("mails")
        nats_server.kill()
        shutil.rmtree(nats_server._folder / CONSUMERS / "mails_0")
        await asyncio.to_thread(nats_server.start)
        await broker.enqueue([message("mails")])

        async def names() -> list[str]:
            return (await api(broker, "CONSUMER.NAMES.JTASK_default"))["consumers"] or []

        async with asyncio.timeout(PATIENCE):
            while await names() != ["mails_0"]:
                await asyncio.sleep(0.01)
        await until(lambda: consumption.problem() is None)
        assert await is_paused(broker, "mails_0")
        assert got == []
        assert await broker.resume_queue("mails") is True
        await until(lambda: got)
        await broker.close()

    run(main())


def test_a_pause_and_a_worker_that_come_at_the_same_moment_agree(
    run: Run, nats_server: Any
) -> None:
    async def main() -> None:
        broker, other = await open_broker(nats_server.url), await open_broker(nats_server.url)
        for number in range(20):
            queue = f"mails-{number}"
            await asyncio.gather(
                broker.pause_queue(queue),
                other.consume([queue], 1, lambda _: None),
                broker.enqueue([message(queue, priority=7)]),
            )
            assert await is_paused(broker, f"{queue}_0")
            assert await is_paused(broker, f"{queue}_7")
        await other.close()
        await broker.close()

    run(main())


def test_a_resumption_and_a_worker_that_come_at_the_same_moment_agree(
    run: Run, nats_server: Any
) -> None:
    async def main() -> None:
        broker, other = await open_broker(nats_server.url), await open_broker(nats_server.url)
        for number in range(20):
            queue = f"mails-{number}"
            await broker.pause_queue(queue)
            await asyncio.gather(
                other.consume([queue], 1, lambda _: None),
                broker.resume_queue(queue),
                broker.enqueue([message(queue, priority=7)]),
            )
            assert not await is_paused(broker, f"{queue}_0")
            assert not await is_paused(broker, f"{queue}_7")
        await other.close()
        await broker.close()

    run(main())


def test_a_pause_that_somebody_only_half_ended_can_be_ended(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        broker = await open_broker(nats_server.url)
        await broker.consume(["mails"], 1, lambda _: None)
        await broker.pause_queue("mails")
        await api(broker, "STREAM.PURGE.JTASK_default_RECORDS")
        assert await broker.resume_queue("mails") is True
        assert not await is_paused(broker, "mails_0")
        await broker.close()

    run(main())


def test_a_pause_is_no_record_that_anybody_sees(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        broker = await open_broker(nats_server.url)
        await broker.pause_queue("mails")
        for bucket in ("pauses", "=pauses", "*", ">"):
            assert await broker.records(bucket) == []
        await broker.close()

    run(main())


def test_a_record_whose_answer_was_lost_is_known_to_be_stored(
    nats_server: Any, run: Run, proxy: Any
) -> None:
    async def main() -> None:
        broker = await open_broker(await proxy.start())
        await broker.records("any")  # the stream is there
        for revision in (0, None):
            proxy.cut_before_answer = b'"stream":"JTASK_default_RECORDS"'
            assert await broker.put_record("any", "key", b"one", revision=revision) is True
        assert proxy.cuts == 2
        assert await broker.put_record("any", "key", b"one", revision=0) is False
        record = await broker.get_record("any", "key")
        assert record is not None
        assert record.revision == 2
        await broker.close()
        await proxy.stop()

    run(main())


def test_a_question_to_a_server_that_is_gone_says_so(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        broker = await open_broker(nats_server.url)
        nats_server.kill()
        await until(lambda: not broker._connection.is_connected)
        with pytest.raises(BrokerUnavailable):
            await broker.ask("who", b"", timeout=0.1)
        await broker.close()

    run(main())


def test_a_run_whose_worker_died_is_shown_and_one_in_hand_is_not(
    run: Run, nats_server: Any
) -> None:
    async def main() -> None:
        broker, got = await open_broker(nats_server.url), list[Delivery]()
        living, dying = await open_broker(nats_server.url), await open_broker(nats_server.url)
        held, lost = message("mails"), message("calls")
        await living.consume(["mails"], 1, got.append)
        await dying.consume(["calls"], 1, got.append)
        await broker.enqueue([held, lost])
        await until(lambda: len(got) == 2)
        assert await shown(broker) == []
        await dying.close()
        assert await shown(broker) == [lost.run_id]
        for one in (living, broker):
            await one.close()

    run(main())


def test_a_run_is_shown_once_though_it_comes_due_meanwhile(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        broker = await open_broker(nats_server.url)
        now = time.time()
        soon = [message("mails", at=now + 0.6 + number / 1000) for number in range(400)]
        later = [message("calls", at=now + 3600) for _ in range(1600)]
        await broker.enqueue([*soon, *later])
        wanted = sorted(one.run_id for one in [*soon, *later])
        while time.time() < now + 1.2:
            assert sorted(await shown(broker)) == wanted
        await broker.close()

    run(main())


def test_a_run_at_a_priority_without_a_consumer_is_counted(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        broker = await open_broker(nats_server.url)
        await broker.consume(["mails"], 0, lambda _: None)
        await broker.enqueue([message("mails"), message("mails", priority=3), message("calls")])
        await api(broker, "CONSUMER.DELETE.JTASK_default.mails_3")
        assert [info[:3] for info in await broker.queues()] == [("calls", 1, 0), ("mails", 2, 0)]
        await broker.close()

    run(main())


def test_no_queue_is_overlooked_while_runs_come_and_go(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        broker, other = await open_broker(nats_server.url), await open_broker(nats_server.url)
        await other.consume(["mails"], 100, lambda delivery: delivery.ack())
        await broker.enqueue([message("calls")])
        producing = True

        async def produce() -> None:
            while producing:
                await other.enqueue([message("mails") for _ in range(5)])

        producer = asyncio.create_task(produce())
        for _ in range(100):
            assert "calls" in [info.name for info in await broker.queues()]
        producing = False
        await producer
        await other.close()
        await broker.close()

    run(main())
