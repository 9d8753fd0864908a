"""Blobs, events, slots, letters and presence on a real server."""

import asyncio
import hashlib
import os
import time

import pytest
from nats_clients import OpenBroker, WithBrokers
from nats_servers import NatsServer
from waiting import PATIENCE, until

from jtask.contract import DeadLetter, Delivery, Event, Message
from jtask.ids import RunIds
from jtask.testing.contract.bench import until_instant
from jtask_nats.client import direct_reads


def test_a_blob_of_20_mb_comes_back_whole(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        one, other = await open_broker(), await open_broker()
        data = os.urandom(20 << 20)
        key = f"{RunIds().new()}.result"
        await one.blobs.put(key, data)
        back = await other.blobs.get(key)
        assert back is not None
        assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()
        await one.blobs.delete(key)
        assert await other.blobs.get(key) is None

    with_brokers(main)


def test_half_a_blob_is_no_blob(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        await broker.blobs.put("a.result", bytes(3 << 20))
        await broker._connection.api("STREAM.MSG.DELETE.JTASK_default_BLOBS", {"seq": 4})
        assert await broker.blobs.get("a.result") is None

    with_brokers(main)


def test_a_blob_written_again_is_the_later_one(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        await broker.blobs.put("a.result", b"x" * (2 << 20))
        await broker.blobs.put("a.result", b"y" * (1 << 20))
        assert await broker.blobs.get("a.result") == b"y" * (1 << 20)

    with_brokers(main)


def test_more_events_than_fit_a_message_are_kept_in_order(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        run_id = RunIds().new()  # one shard
        events = [Event(run_id, "Running", n, "task", 1, "w", "d" * 400) for n in range(5000)]
        broker.events.append(events)

        async def are_kept() -> bool:
            return [event async for event in broker.events.read()] == events

        await until(are_kept)

    with_brokers(main)


def test_who_watches_the_events_is_not_sent_each_of_them_and_told_of_the_last(
    with_brokers: WithBrokers,
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        writer, reader = await open_broker(), await open_broker()
        read: list[Event] = []
        news = asyncio.Event()
        told = 0

        def on_news() -> None:
            nonlocal told
            told += 1
            news.set()

        watch = await reader.events.watch(on_news)
        run_id = RunIds().new()
        for number in range(300):
            writer.events.append([Event(run_id, "Running", number, "task")])
        position = 0
        while len(read) < 300:
            await news.wait()
            news.clear()
            async for page in reader.events.read_pages(after=position):
                read += page.events
                position = page.position
        await watch.close()
        assert [event.at for event in read] == list(range(300))
        assert told < 300

    with_brokers(main)


def test_a_reason_may_say_anything(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        taken: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        await broker.runs.consume(["mails"], 1, taken.set_result)
        await broker.runs.enqueue([Message(RunIds().new(), "mails", b"{}")])
        delivery = await taken
        reason = "crashed 3 times: it's\r\nNats-TTL: 1 % ünïcode"
        await delivery.dead_letter(reason, b"record")
        letters: list[DeadLetter] = [letter async for letter in broker.dead_letters.read()]
        assert [(one.run_id, one.reason, one.body) for one in letters] == [
            (delivery.run_id, reason, b"record")
        ]

    with_brokers(main)


def test_no_more_than_the_limit_get_a_slot_however_many_ask_at_once(
    with_brokers: WithBrokers,
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        brokers = [await open_broker() for _ in range(3)]
        asked = [
            broker.slots.acquire("db: main", f"{index}-{n}", 4, 60)
            for n in range(4)
            for index, broker in enumerate(brokers)
        ]
        assert sum(token is not None for token in await asyncio.gather(*asked)) == 4

    with_brokers(main)


def test_a_worker_may_have_any_name(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        await broker.heartbeats.beat("host.example.org-1234 *", b"info", 60)
        assert await broker.heartbeats.living() == [("host.example.org-1234 *", b"info")]

    with_brokers(main)


def test_a_lost_memory_stream_is_made_again(
    with_brokers: WithBrokers, nats_server: NatsServer
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        await broker.heartbeats.beat("one", b"", 60)
        lost = asyncio.Event()
        back = asyncio.Event()
        broker._connection.on_disconnect(lost.set)
        broker._connection.on_reconnect(back.set)
        nats_server.kill()
        await lost.wait()
        await asyncio.to_thread(nats_server.start)
        await back.wait()
        await broker.heartbeats.beat("two", b"", 60)
        assert ("two", b"") in await broker.heartbeats.living()
        assert await broker.slots.acquire("lock", "me", 1, 5)

    with_brokers(main)


def test_two_namespaces_do_not_meet(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        one = await open_broker(namespace="one")
        other = await open_broker(namespace="other")
        await one.runs.enqueue([Message(RunIds().new(), "mails", b"{}")])
        assert (await one.queues.depth("mails"), await other.queues.depth("mails")) == (1, 0)

    with_brokers(main)


def test_a_slot_that_lapsed_in_an_outage_is_left_to_whoever_had_it(
    with_brokers: WithBrokers, nats_server: NatsServer
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        holder, other = await open_broker(), await open_broker()
        token = await holder.slots.acquire("database", "one", 1, 1)
        nats_server.kill()
        await until_instant(time.time() + 1)
        await asyncio.to_thread(nats_server.start)

        async def is_free() -> bool:
            return not await other.slots.holders("database")

        await until(is_free)
        taking = asyncio.create_task(other.slots.acquire("database", "two", 1, 1))
        await until(lambda: holder._connection.is_connected)
        assert await holder.slots.acquire("database", "one", 1, 60, token=token)
        assert await taking is None

    with_brokers(main)


def test_no_stream_is_made_to_delete_a_counter_of_another(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        await broker.counters.add("brief", 1, ttl=60)
        await broker.counters.delete("brief")
        names = await broker._connection.api("STREAM.NAMES", {})
        assert "JTASK_default_TALLIES" in names["streams"]
        assert "JTASK_default_COUNTERS" not in names["streams"]

    with_brokers(main)


def test_nothing_is_left_to_delete_of_a_stream_that_was_removed(
    with_brokers: WithBrokers,
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        token = await broker.slots.acquire("db", "holder", 1, 30.0)
        assert token is not None
        await broker.records.put("any", "key", b"one")
        await broker.blobs.put("a.result", b"x")
        for stream in ("SLOTS", "RECORDS", "BLOBS"):
            await broker._connection.api(f"STREAM.DELETE.JTASK_default_{stream}")
        await broker.slots.release("db", token)
        await broker.blobs.delete("a.result")
        assert await broker.records.delete("any", "key") is False

    with_brokers(main)


def test_a_slot_outlives_the_kill_of_its_server_whoever_asks_first_when_it_is_back(
    with_brokers: WithBrokers, nats_server: NatsServer
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        holder = await open_broker()
        token = await holder.slots.acquire("database", "one", 1, 60)
        nats_server.kill()
        await asyncio.to_thread(nats_server.start)
        newcomer = await open_broker()
        assert await newcomer.slots.acquire("database", "two", 1, 60) is None
        token = await holder.slots.acquire("database", "one", 1, 60, token=token)
        assert token is not None
        await holder.slots.release("database", token)
        assert await newcomer.slots.acquire("database", "two", 1, 60) is not None

    with_brokers(main)


def test_what_is_read_while_the_server_is_away_is_read_when_it_is_back(
    with_brokers: WithBrokers, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Once only: another try would hide that the first was never sent.
    monkeypatch.setattr(direct_reads, "_SILENCES", (PATIENCE / 2,))

    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        await broker.records.put("bucket", "key", b"value")
        nats_server.kill()
        await until(lambda: not broker._connection.is_connected)
        reading = asyncio.ensure_future(broker.records.list("bucket"))
        await asyncio.sleep(0)
        nats_server.start()
        assert [record.body for record in await reading] == [b"value"]

    with_brokers(main)


def test_a_slot_is_free_when_its_lease_is_over_though_its_server_was_killed_meanwhile(
    with_brokers: WithBrokers, nats_server: NatsServer
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        holder = await open_broker()
        assert await holder.slots.acquire("database", "one", 1, 2) is not None
        nats_server.kill()
        await asyncio.to_thread(nats_server.start)
        newcomer = await open_broker()

        async def is_taken() -> bool:
            return await newcomer.slots.acquire("database", "two", 1, 60) is not None

        await until(is_taken)

    with_brokers(main)
