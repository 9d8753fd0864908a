"""Threads and event loops that publish on connections of their own, to a server that is hurt."""

import asyncio
import errno
import itertools
import os
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import uvloop
from nats_clients import Connected
from nats_publishing import PATIENT, make_stream, stored
from nats_servers import NatsServer, Proxy, StartNats
from waiting import PATIENCE, until

from jtask.errors import BrokerUnavailable, PermissionDenied
from jtask_nats.client import link_supply
from jtask_nats.client.blocking_link import BlockingLink
from jtask_nats.client.connection import Connection
from jtask_nats.client.direct_reads import last_message_question
from jtask_nats.client.link import Link
from jtask_nats.client.loop_link import LoopLink
from jtask_nats.client.nats_errors import ApiError
from jtask_nats.client.publisher import Publisher

LIMIT = 4
PUSHED = {"allow_direct": True, "republish": {"src": "s.>", "dest": "p.>"}}
GUEST = """
authorization { users: [
  { user: guest, password: guest, permissions: { publish: { deny: "s.closed.>" } } }
] }
"""
Publishing = Callable[..., None]  # the fixture `publishing`
Question = Callable[[], tuple[str, bytes]]
numbers = itertools.count()


def headers(name: object = None) -> bytes:
    return f"Nats-Msg-Id: m{next(numbers) if name is None else name}\r\n".encode()


def question(name: str) -> Question:
    return lambda: last_message_question("S", f"s.{name}")


class FromThreads:
    """Publish from other threads, which block."""

    async def publish(
        self, publisher: Publisher, subject: str = "s.x", name: object = None, followed_at: str = ""
    ) -> int:
        """Publish a message, and return its number in the stream."""
        publish = publisher.publish_from_thread
        return (await asyncio.to_thread(publish, subject, b"x", headers(name), followed_at)).seq

    async def wait(
        self, publisher: Publisher, name: str, seconds: float, ask: Question | None = None
    ) -> bytes | None:
        """Wait for what is pushed under a name, or was before."""
        wait = publisher.blocking_links.await_message
        return await asyncio.to_thread(wait, f"p.{name}", ask or question(name), seconds)

    def links(self, publisher: Publisher) -> set[Link]:
        return set(publisher.blocking_links._supply.links(BlockingLink))


class FromAnotherLoop:
    """Publish from an event loop in another thread."""

    def __init__(self, new_loop: Callable[[], Any] = asyncio.new_event_loop) -> None:
        self.loop = new_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    async def publish(
        self, publisher: Publisher, subject: str = "s.x", name: object = None, followed_at: str = ""
    ) -> int:
        """Publish a message, and return its number in the stream."""
        publishing = publisher.publish_from_loop(subject, b"x", headers(name), followed_at)
        future = asyncio.run_coroutine_threadsafe(publishing, self.loop)
        return (await asyncio.wrap_future(future)).seq

    async def wait(
        self, publisher: Publisher, name: str, seconds: float, ask: Question | None = None
    ) -> bytes | None:
        """Wait for what is pushed under a name, or was before."""

        async def waiting() -> bytes | None:
            links = publisher.loop_links
            message = links.await_message(f"p.{name}", ask or question(name), seconds)
            return None if message is None else await message

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(waiting(), self.loop))

    def links(self, publisher: Publisher) -> set[Link]:
        return set(open_links(publisher))

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()


Way = FromThreads | FromAnotherLoop


@pytest.fixture(params=["thread", "asyncio loop", "uvloop loop"])
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    if request.param == "thread":
        yield FromThreads()
        return
    is_uvloop = request.param == "uvloop loop"
    other = FromAnotherLoop(uvloop.new_event_loop if is_uvloop else asyncio.new_event_loop)
    yield other
    other.close()


async def publisher_with_link(connection: Connection, way: Way, **config: Any) -> Publisher:
    """Return a publisher that has published two messages to a stream; options of the stream."""
    await make_stream(connection, **config)
    publisher = Publisher(connection, timeout=PATIENT, links=LIMIT)
    await way.publish(publisher)
    assert way.links(publisher) == set()  # one message is not worth it
    await way.publish(publisher)
    await until(lambda: len(way.links(publisher)) == 1)
    [link] = way.links(publisher)
    # The loop that it is for takes it a moment later.
    await until(lambda: not isinstance(link, LoopLink) or link._timer is not None)
    return publisher


@pytest.fixture
def publishing(connected: Connected, way: Way) -> Publishing:
    """Run a coroutine function with a connection, and a publisher that has opened a link."""

    def run_publishing(
        main: Callable[[Connection, Publisher], Awaitable[None]],
        to: NatsServer | Proxy | None = None,
        config: dict[str, Any] | None = None,
        **access: Any,
    ) -> None:
        async def around(connection: Connection) -> None:
            await main(connection, await publisher_with_link(connection, way, **(config or {})))

        connected(around, to, **access)

    return run_publishing


def test_who_goes_on_publishing_reads_the_answers_on_a_link(
    publishing: Publishing, way: Way
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        [link] = way.links(publisher)
        # Whatever took the common way would be seen there.
        publisher._unanswered._pending = None  # type: ignore[assignment]
        found = [await way.publish(publisher) for _ in range(20)]
        publisher._unanswered._pending = {}
        assert found == list(range(3, 23))
        assert way.links(publisher) == {link}

    publishing(main)


def test_many_at_once_are_each_answered(publishing: Publishing, way: Way, proxy: Proxy) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        found = await asyncio.gather(*(way.publish(publisher) for _ in range(300)))
        assert sorted(found) == list(range(3, 303))
        assert len(way.links(publisher)) <= LIMIT
        assert proxy.connections <= 1 + LIMIT

    publishing(main, to=proxy)


def test_killing_the_server_loses_and_doubles_nothing(
    publishing: Publishing, way: Way, nats_server: NatsServer
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        before = await stored(connection)
        acked: list[int] = []
        enough = threading.Event()

        async def work() -> None:
            while not enough.is_set():
                acked.append(await way.publish(publisher))

        workers = [asyncio.create_task(work()) for _ in range(3)]
        for _ in range(2):
            seen = len(acked)
            await until(lambda: len(acked) > seen + 300)  # noqa: B023 - awaited here
            nats_server.kill()
            nats_server.start()
        seen = len(acked)
        await until(lambda: len(acked) > seen + 300 and way.links(publisher) != set())
        enough.set()
        await asyncio.gather(*workers)
        assert len(set(acked)) == len(acked)
        assert await stored(connection) == before + len(acked)

    publishing(main)


def test_an_answer_that_is_cut_off_is_got_otherwise(
    publishing: Publishing, way: Way, proxy: Proxy
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        proxy.cut_before_answer = b'"seq"'
        assert await way.publish(publisher) == 3
        assert proxy.cuts == 1
        assert await stored(connection) == 3

    publishing(main, to=proxy)


class NoRoute:
    """A socket whose network has gone."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def send(self, data: bytes) -> int:
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    sendall = send


def test_what_the_network_does_not_take_goes_another_way(publishing: Publishing, way: Way) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        [link] = way.links(publisher)
        link._socket = NoRoute(link._socket)  # type: ignore[assignment]
        assert await way.publish(publisher) == 3
        await until(lambda: link not in way.links(publisher))

    publishing(main)


def test_a_server_that_is_silent_for_long_has_the_message_once(
    publishing: Publishing, way: Way, nats_server: NatsServer
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        nats_server.pause()
        waiting = asyncio.create_task(way.publish(publisher))
        # The link's patience is over: it goes the common way now.
        await until(lambda: len(publisher._unanswered._pending) == 1)
        assert way.links(publisher) == set()
        nats_server.resume()
        assert await waiting == 3
        assert await stored(connection) == 3

    publishing(main)


def test_the_same_message_is_stored_once_whichever_way_it_goes(
    publishing: Publishing, way: Way
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        by_link = await way.publish(publisher, name="one")
        by_loop = await publisher.publish("s.x", b"x", b"Nats-Msg-Id: mone\r\n")
        assert (by_loop.seq, by_loop.duplicate) == (by_link, True)

    publishing(main)


def test_what_is_refused_on_a_link_is_told_in_the_same_words(
    publishing: Publishing, way: Way, start_nats: StartNats
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        with pytest.raises(PermissionDenied, match=r"s\.closed\.y"):
            await way.publish(publisher, "s.closed.y")
        with pytest.raises(ApiError, match="maximum messages"):
            await way.publish(publisher)
        # The next one is not disturbed.
        await connection.api("STREAM.PURGE.S", {})
        assert await way.publish(publisher) == 3

    full = {"max_msgs": 2, "discard": "new"}
    publishing(main, start_nats(config=GUEST), full, user="guest", password="guest")


@pytest.mark.parametrize(("links", "config"), [(0, ""), (LIMIT, "max_connections: 1")])
def test_without_a_second_connection_all_goes_on_the_first(
    connected: Connected, way: Way, start_nats: StartNats, links: int, config: str
) -> None:
    async def main(connection: Connection) -> None:
        await make_stream(connection)
        publisher = Publisher(connection, timeout=PATIENT, links=links)
        assert [await way.publish(publisher) for _ in range(5)] == [1, 2, 3, 4, 5]
        assert way.links(publisher) == set()

    connected(main, start_nats(config=config))


def test_a_link_that_nobody_uses_is_closed(
    publishing: Publishing, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_supply, "_IDLE", 0.2)

    async def main(connection: Connection, publisher: Publisher) -> None:
        await until(lambda: way.links(publisher) == set())
        assert await way.publish(publisher) == 3

    publishing(main)


def test_closing_tells_who_waits_on_a_link(
    publishing: Publishing, way: Way, nats_server: NatsServer
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        nats_server.pause()
        waiting = asyncio.create_task(way.publish(publisher))
        await until(lambda: is_in_use(way, publisher))
        closing = asyncio.create_task(connection.close())
        with pytest.raises(BrokerUnavailable, match="closed"):
            await waiting
        nats_server.resume()
        await closing
        await until(lambda: way.links(publisher) == set())

    publishing(main)


def test_a_link_hears_what_is_pushed_and_asks_for_what_was_before(
    publishing: Publishing, way: Way
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        [link] = way.links(publisher)
        early = asyncio.create_task(way.wait(publisher, "a", PATIENCE))
        await until(lambda: is_in_use(way, publisher))
        await publisher.publish("s.a", b"one", headers())
        assert await early == b"one"
        assert await way.wait(publisher, "a", PATIENCE) == b"one"
        assert way.links(publisher) == {link}

    publishing(main, config=PUSHED)


def test_who_waits_for_what_follows_each_message_has_nothing_to_ask(
    publishing: Publishing, way: Way
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        [link] = way.links(publisher)
        asked: list[int] = []

        def ask(number: int) -> tuple[str, bytes]:
            asked.append(number)
            return question(f"a{number}")()

        for number in range(5):
            followed_at = f"p.a{number}"
            await way.publish(publisher, name=f"a{number}", followed_at=followed_at)
            await publisher.publish(f"s.a{number}", b"%d" % number, headers())
            found = await way.wait(publisher, f"a{number}", PATIENCE, partial(ask, number))
            assert found == b"%d" % number
        # Of the first it is not known yet.
        assert asked == [0]
        assert way.links(publisher) == {link}

    publishing(main, config=PUSHED)


def test_where_nobody_waits_for_what_follows_nobody_listens(
    publishing: Publishing, way: Way
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        [link] = way.links(publisher)
        await publisher.publish("s.a", b"x", headers())
        assert await way.wait(publisher, "a", PATIENCE) == b"x"
        for number in range(20):
            await way.publish(publisher, followed_at=f"p.b{number}")
        assert len(link._handlers) == 1  # for the answers
        # And one that is waited for all the same is asked for.
        await publisher.publish("s.b7", b"y", headers())
        assert await way.wait(publisher, "b7", PATIENCE) == b"y"
        assert way.links(publisher) == {link}

    publishing(main, config=PUSHED)


def test_what_followed_a_message_before_it_is_waited_for_is_there(
    publishing: Publishing, way: Way
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        await publisher.publish("s.a", b"x", headers())
        assert await way.wait(publisher, "a", PATIENCE) == b"x"
        await way.publish(publisher, followed_at="p.b")
        await publisher.publish("s.b", b"y", headers())
        # Its place is read on the way to the answer of another.
        assert await way.wait(publisher, "c", 0.01) is None
        assert await way.wait(publisher, "b", PATIENCE) == b"y"

    publishing(main, config=PUSHED)


def test_what_comes_too_late_is_taken_for_nothing_else(publishing: Publishing, way: Way) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        [link] = way.links(publisher)
        for number in range(3, 13):
            assert await way.wait(publisher, f"a{number}", 0.01) is None
            late = publisher.publish(f"s.a{number}", b"late", headers())
            assert await way.wait(publisher, "b", 0.01) is None
            await late
            assert await way.publish(publisher) == 2 * number - 2
        early = asyncio.create_task(way.wait(publisher, "b", PATIENCE))
        await publisher.publish("s.b", b"two", headers())
        assert await early == b"two"
        assert way.links(publisher) == {link}

    publishing(main, config=PUSHED)


def test_who_waits_on_a_link_that_is_cut_waits_otherwise(
    publishing: Publishing, way: Way, nats_server: NatsServer
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        waiting = asyncio.create_task(way.wait(publisher, "a", PATIENT))
        await until(lambda: is_in_use(way, publisher))
        nats_server.kill()
        assert await waiting is None
        assert way.links(publisher) == set()
        nats_server.start()
        assert await way.wait(publisher, "a", 0.01) is None
        assert await way.publish(publisher) == 3

    publishing(main, config=PUSHED)


def test_closing_ends_the_waits_on_links(publishing: Publishing, way: Way) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        waiting = asyncio.create_task(way.wait(publisher, "a", PATIENT))
        await until(lambda: is_in_use(way, publisher))
        await connection.close()
        assert await waiting is None
        await until(lambda: way.links(publisher) == set())

    publishing(main, config=PUSHED)


def test_many_waits_on_one_loop_take_the_common_way(connected: Connected) -> None:
    other = FromAnotherLoop()

    async def main(connection: Connection) -> None:
        publisher = await publisher_with_link(connection, other, **PUSHED)
        [link] = other.links(publisher)
        assert isinstance(link, LoopLink)
        first = [asyncio.create_task(other.wait(publisher, f"a{n}", PATIENT)) for n in range(4)]
        await until(lambda: link.awaited == 4)
        assert await other.wait(publisher, "b", PATIENT) is None
        for number in range(4):
            await publisher.publish(f"s.a{number}", b"x", headers())
        assert await asyncio.gather(*first) == [b"x"] * 4
        await until(lambda: link.awaited == 0)

    try:
        connected(main)
    finally:
        other.close()


def is_in_use(way: Way, publisher: Publisher) -> bool:
    [link] = way.links(publisher)
    if isinstance(link, LoopLink):
        return bool(link._waiting or link.awaited)
    return link not in publisher.blocking_links._free


@pytest.mark.parametrize(
    "begin",
    [
        lambda publisher: publisher.publish_from_thread("s.x", b"x", headers()),
        lambda publisher: publisher.blocking_links.await_message("p.a", question("a"), PATIENCE),
    ],
    ids=["publishing", "waiting"],
)
def test_an_interrupted_thread_takes_its_link_along(
    connected: Connected, monkeypatch: pytest.MonkeyPatch, begin: Callable[[Publisher], object]
) -> None:
    """Else the next message would take the answer to this one for its own."""

    def raise_interrupt() -> None:
        raise KeyboardInterrupt

    async def main(connection: Connection) -> None:
        way = FromThreads()
        publisher = await publisher_with_link(connection, way)
        [link] = way.links(publisher)
        with monkeypatch.context() as patched:
            patched.setattr(link, "_read", raise_interrupt)
            with pytest.raises(KeyboardInterrupt):
                begin(publisher)
        assert link not in way.links(publisher)
        last = await way.publish(publisher)
        assert last == await stored(connection)

    connected(main)


def test_a_forked_child_leaves_the_parents_links_alone(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        way = FromThreads()
        publisher = await publisher_with_link(connection, way)
        [link] = way.links(publisher)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads, Python 3.12
            child = os.fork()
        if child == 0:
            status = 1
            try:
                publisher.publish_from_thread("s.x", b"x", headers())
            except BrokerUnavailable as error:
                status = 0 if "after the fork" in str(error) else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert await way.publish(publisher) == 3
        assert way.links(publisher) == {link}

    connected(main)


def test_threads_beyond_the_limit_go_the_common_way(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        await make_stream(connection)
        publisher = Publisher(connection, timeout=PATIENT, links=1)
        together = threading.Barrier(20)

        def work() -> list[int]:
            together.wait(PATIENCE)
            publish = publisher.publish_from_thread
            return [publish("s.x", b"x", headers()).seq for _ in range(20)]

        with ThreadPoolExecutor(20) as pool:
            loop = asyncio.get_running_loop()
            found = await asyncio.gather(*(loop.run_in_executor(pool, work) for _ in range(20)))
        assert sorted(itertools.chain(*found)) == list(range(1, 401))
        assert len(FromThreads().links(publisher)) <= 1

    connected(main)


def test_a_loop_that_has_ended_leaves_its_place_to_the_next_one(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        await make_stream(connection)
        publisher = Publisher(connection, timeout=PATIENT, links=1)
        for _ in range(3):
            way = FromAnotherLoop()
            for _ in range(2):
                await way.publish(publisher)
            await until(lambda: any(link.loop is way.loop for link in open_links(publisher)))  # noqa: B023
            # As `asyncio.run` does, whoever still has a connection there.
            await asyncio.to_thread(way.close)
        assert await stored(connection) == 6

    connected(main)


def open_links(publisher: Publisher) -> list[LoopLink]:
    return publisher.loop_links._supply.links(LoopLink)


def test_a_coroutine_that_gives_up_disturbs_no_other(
    connected: Connected, nats_server: NatsServer
) -> None:
    async def main(connection: Connection) -> None:
        way = FromAnotherLoop()
        publisher = await publisher_with_link(connection, way)
        nats_server.pause()
        one, other = (asyncio.create_task(way.publish(publisher)) for _ in range(2))
        [link] = open_links(publisher)
        await until(lambda: len(link._waiting) == 2)
        one.cancel()
        nats_server.resume()
        assert await other == 4
        assert await way.publish(publisher) == 5
        await asyncio.to_thread(way.close)

    connected(main)
