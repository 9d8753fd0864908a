"""Threads that publish on connections of their own, to a server that is killed, paused and cut."""

import asyncio
import itertools
import os
import threading
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from nats_clients import Connected
from nats_servers import NatsServer, Proxy, StartNats
from waiting import until

from jtask.errors import BrokerUnavailable, PermissionDenied
from jtask_nats.client import blocking_links
from jtask_nats.client.blocking_link import BlockingLink
from jtask_nats.client.connection import Connection
from jtask_nats.client.nats_errors import ApiError
from jtask_nats.client.publisher import Publisher

LIMIT = 4
PATIENT = 50.0  # seconds
GUEST = """
authorization { users: [
  { user: guest, password: guest, permissions: { publish: { deny: "s.closed.>" } } }
] }
"""
Publishing = Callable[..., None]  # the fixture `publishing`
numbers = itertools.count()


def publish(publisher: Publisher, subject: str = "s.x", name: object = None) -> int:
    """Publish a message, and return its number in the stream."""
    known_as = f"Nats-Msg-Id: m{next(numbers) if name is None else name}\r\n"
    return publisher.publish_from_thread(subject, b"x", known_as.encode()).seq


async def in_thread(publisher: Publisher, subject: str = "s.x", name: object = None) -> int:
    return await asyncio.to_thread(publish, publisher, subject, name)


async def stored(connection: Connection) -> int:
    info = await connection.api("STREAM.INFO.S", timeout=30)
    return info["state"]["messages"]


def links_of(publisher: Publisher) -> set[BlockingLink]:
    return publisher._links._open


@pytest.fixture
def publishing(connected: Connected) -> Publishing:
    """Run a coroutine function with a connection, and a publisher that has opened a link."""

    def run_publishing(
        main: Callable[[Connection, Publisher], Awaitable[None]],
        to: NatsServer | Proxy | None = None,
        config: dict[str, Any] | None = None,
        **way: Any,
    ) -> None:
        async def around(connection: Connection) -> None:
            await connection.api(
                "STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"], **(config or {})}
            )
            publisher = Publisher(connection, timeout=PATIENT, links=LIMIT)
            await in_thread(publisher)
            assert links_of(publisher) == set()  # one message is not worth it
            await in_thread(publisher)
            assert len(links_of(publisher)) == 1
            await main(connection, publisher)

        connected(around, to, **way)

    return run_publishing


def test_a_thread_that_goes_on_publishing_reads_its_answers_itself(publishing: Publishing) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        [link] = links_of(publisher)
        before = await stored(connection)
        found = [await in_thread(publisher) for _ in range(20)]
        assert found == list(range(before + 1, before + 21))
        assert links_of(publisher) == {link}
        assert not publisher._pending

    publishing(main)


def test_more_threads_than_links_share_them_with_the_loop(
    publishing: Publishing, proxy: Proxy
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        before = await stored(connection)
        together = threading.Barrier(30)

        def work(_: int) -> list[int]:
            together.wait()
            return [publish(publisher) for _ in range(20)]

        with ThreadPoolExecutor(30) as pool:
            loop = asyncio.get_running_loop()
            found = await asyncio.gather(*(loop.run_in_executor(pool, work, n) for n in range(30)))
        assert sorted(itertools.chain(*found)) == list(range(before + 1, before + 601))
        assert len(links_of(publisher)) <= LIMIT
        assert proxy.connections <= 1 + LIMIT

    publishing(main, to=proxy)


def test_killing_the_server_loses_and_doubles_nothing(
    publishing: Publishing, nats_server: NatsServer
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        before = await stored(connection)
        acked: list[int] = []
        enough = threading.Event()

        def work() -> None:
            while not enough.is_set():
                acked.append(publish(publisher))

        threads = [asyncio.create_task(asyncio.to_thread(work)) for _ in range(3)]
        for _ in range(2):
            seen = len(acked)
            await until(lambda: len(acked) > seen + 300)  # noqa: B023 - awaited here
            nats_server.kill()
            nats_server.start()
        seen = len(acked)
        await until(lambda: len(acked) > seen + 300 and links_of(publisher) != set())
        enough.set()
        await asyncio.gather(*threads)
        assert len(set(acked)) == len(acked)
        assert await stored(connection) == before + len(acked)

    publishing(main)


def test_an_answer_that_is_cut_off_is_got_otherwise(publishing: Publishing, proxy: Proxy) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        before = await stored(connection)
        proxy.cut_before_answer = b'"seq"'
        assert await in_thread(publisher) == before + 1
        assert proxy.cuts == 1
        assert await stored(connection) == before + 1

    publishing(main, to=proxy)


def test_a_server_that_is_silent_for_long_has_the_message_once(
    publishing: Publishing, nats_server: NatsServer
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        before = await stored(connection)
        nats_server.pause()
        waiting = asyncio.create_task(in_thread(publisher))
        # The link's patience is over: it goes by the loop now.
        await until(lambda: len(publisher._pending) == 1)
        assert links_of(publisher) == set()
        nats_server.resume()
        assert await waiting == before + 1
        assert await stored(connection) == before + 1

    publishing(main)


def test_the_same_message_is_stored_once_whichever_way_it_goes(publishing: Publishing) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        by_link = await in_thread(publisher, name="one")
        by_loop = await publisher.publish("s.x", b"x", b"Nats-Msg-Id: mone\r\n")
        assert (by_loop.seq, by_loop.duplicate) == (by_link, True)

    publishing(main)


def test_what_is_refused_on_a_link_is_told_in_the_same_words(
    publishing: Publishing, start_nats: StartNats
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        with pytest.raises(PermissionDenied, match=r"s\.closed\.y"):
            await in_thread(publisher, "s.closed.y")
        with pytest.raises(ApiError, match="maximum messages"):
            await in_thread(publisher)
        # The next one is not disturbed.
        await connection.api("STREAM.PURGE.S", {})
        assert await in_thread(publisher) == 3

    full = {"max_msgs": 2, "discard": "new"}
    publishing(main, start_nats(config=GUEST), full, user="guest", password="guest")


def test_a_server_that_lets_no_second_connection_in_gets_all_on_the_first(
    connected: Connected, start_nats: StartNats
) -> None:
    async def main(connection: Connection) -> None:
        await connection.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
        publisher = Publisher(connection, timeout=PATIENT, links=LIMIT)
        assert [await in_thread(publisher) for _ in range(5)] == [1, 2, 3, 4, 5]
        assert links_of(publisher) == set()

    connected(main, start_nats(config="max_connections: 1"))


def test_none_are_opened_where_none_are_allowed(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        await connection.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
        publisher = Publisher(connection, timeout=PATIENT, links=0)
        assert [await in_thread(publisher) for _ in range(5)] == [1, 2, 3, 4, 5]
        assert links_of(publisher) == set()

    connected(main)


def test_a_link_that_nobody_uses_is_closed(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking_links, "_IDLE", 0.2)

    async def main(connection: Connection, publisher: Publisher) -> None:
        await until(lambda: links_of(publisher) == set())
        before = await stored(connection)
        assert await in_thread(publisher) == before + 1

    publishing(main)


def test_an_interrupted_thread_takes_its_link_along(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next message would take the answer to this one for its own."""

    async def main(connection: Connection, publisher: Publisher) -> None:
        [link] = links_of(publisher)
        with monkeypatch.context() as patched:
            patched.setattr(link, "_read", raise_interrupt)
            with pytest.raises(KeyboardInterrupt):
                publish(publisher)
        assert link not in links_of(publisher)
        last = await in_thread(publisher)
        assert last == await stored(connection)

    def raise_interrupt() -> None:
        raise KeyboardInterrupt

    publishing(main)


def test_a_forked_child_leaves_the_parents_links_alone(publishing: Publishing) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        before = await stored(connection)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads, Python 3.12
            child = os.fork()
        if child == 0:
            status = 1
            try:
                publish(publisher)
            except BrokerUnavailable as error:
                status = 0 if "after the fork" in str(error) else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        [link] = links_of(publisher)
        assert await in_thread(publisher) == before + 1
        assert links_of(publisher) == {link}

    publishing(main)


def test_closing_tells_a_thread_that_waits_on_its_link(
    publishing: Publishing, nats_server: NatsServer
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        [link] = links_of(publisher)
        nats_server.pause()
        waiting = asyncio.create_task(in_thread(publisher))
        await until(lambda: link not in publisher._links._free)
        closing = asyncio.create_task(connection.close())
        with pytest.raises(BrokerUnavailable, match="closed"):
            await waiting
        nats_server.resume()
        await closing
        assert links_of(publisher) == set()

    publishing(main)
