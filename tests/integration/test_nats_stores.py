"""Blobs, events, slots, letters and presence on a real server."""

import asyncio
import hashlib
import os
from collections.abc import Callable, Coroutine
from typing import Any

from jtask.contract import DeadLetter, Delivery, Event, Message
from jtask.ids import RunIds
from jtask.settings import Settings
from jtask_nats.broker import NatsBroker
from jtask_nats.connection import Connection
from jtask_nats.lease_guard import GuardAccess

Run = Callable[[Coroutine[Any, Any, Any]], Any]
PATIENCE = 40.0  # seconds


async def open_broker(server: Any, **settings: Any) -> NatsBroker:
    connection = await Connection.open([server.url], name="test", connect_timeout=20.0)
    access = GuardAccess((server.url,))
    return await NatsBroker.open(connection, RunIds().client, Settings(**settings), access)


def test_a_blob_of_20_mb_comes_back_whole(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        one, other = await open_broker(nats_server), await open_broker(nats_server)
        data = os.urandom(20 << 20)
        key = f"{RunIds().new()}.result"
        await one.put_blob(key, data)
        back = await other.get_blob(key)
        assert back is not None
        assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()
        await one.delete_blob(key)
        assert await other.get_blob(key) is None
        await one.close()
        await other.close()

    run(main())


def test_half_a_blob_is_no_blob(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        broker = await open_broker(nats_server)
        await broker.put_blob("a.result", bytes(3 << 20))
        await broker._connection.api("STREAM.MSG.DELETE.JTASK_default_BLOBS", {"seq": 4})
        assert await broker.get_blob("a.result") is None
        await broker.close()

    run(main())


def test_a_blob_written_again_is_the_later_one(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        broker = await open_broker(nats_server)
        await broker.put_blob("a.result", b"x" * (2 << 20))
        await broker.put_blob("a.result", b"y" * (1 << 20))
        assert await broker.get_blob("a.result") == b"y" * (1 << 20)
        await broker.close()

    run(main())


def test_more_events_than_fit_a_message_are_kept_in_order(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        broker = await open_broker(nats_server)
        events = [Event(str(n), "Running", 1.5, "task", 1, "w", "d" * 400) for n in range(5000)]
        broker.append(events)
        async with asyncio.timeout(PATIENCE):
            while [event async for event in broker.read()] != events:
                await asyncio.sleep(0.01)
        await broker.close()

    run(main())


def test_a_reason_may_say_anything(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        broker = await open_broker(nats_server)
        taken: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        await broker.consume(["mails"], 1, taken.set_result)
        await broker.enqueue([Message(RunIds().new(), "mails", b"{}")])
        delivery = await taken
        reason = "crashed 3 times: it's\r\nNats-TTL: 1 % ünïcode"
        await delivery.dead_letter(reason, b"record")
        letters: list[DeadLetter] = [letter async for letter in broker.letters()]
        assert [(one.run_id, one.reason, one.body) for one in letters] == [
            (delivery.run_id, reason, b"record")
        ]
        await broker.close()

    run(main())


def test_no_more_than_the_limit_get_a_slot_however_many_ask_at_once(
    run: Run, nats_server: Any
) -> None:
    async def main() -> None:
        brokers = [await open_broker(nats_server) for _ in range(3)]
        asked = [
            broker.acquire("db: main", f"{index}-{n}", 4, 60)
            for n in range(4)
            for index, broker in enumerate(brokers)
        ]
        assert sum(await asyncio.gather(*asked)) == 4
        for broker in brokers:
            await broker.close()

    run(main())


def test_a_worker_may_have_any_name(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        broker = await open_broker(nats_server)
        await broker.announce("host.example.org-1234 *", b"info", 60)
        assert await broker.workers() == [("host.example.org-1234 *", b"info")]
        await broker.close()

    run(main())


def test_a_lost_memory_stream_is_made_again(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        broker = await open_broker(nats_server)
        await broker.announce("one", b"", 60)
        lost = asyncio.Event()
        back = asyncio.Event()
        broker._connection.on_disconnect(lost.set)
        broker._connection.on_reconnect(back.set)
        nats_server.kill()
        await lost.wait()
        await asyncio.to_thread(nats_server.start)
        await back.wait()
        await broker.announce("two", b"", 60)
        assert ("two", b"") in await broker.workers()
        assert await broker.acquire("lock", "me", 1, 5)
        await broker.close()

    run(main())


def test_two_namespaces_do_not_meet(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        one = await open_broker(nats_server, namespace="one")
        other = await open_broker(nats_server, namespace="other")
        await one.enqueue([Message(RunIds().new(), "mails", b"{}")])
        assert (await one.depth("mails"), await other.depth("mails")) == (1, 0)
        await one.close()
        await other.close()

    run(main())
