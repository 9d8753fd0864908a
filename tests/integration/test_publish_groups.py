"""Messages that are sent as a group, against a server that is killed, paused and cut off."""

import asyncio
from collections.abc import Sequence
from typing import Any

from nats_clients import Connected
from nats_publishing import GUEST, PATIENT, Publishing, make_stream, stored
from nats_servers import NatsServer, Proxy, StartNats
from waiting import until

from jtask.errors import BrokerError, BrokerUnavailable, MessageRefused, PermissionDenied
from jtask_nats.client.connection import Connection
from jtask_nats.client.headers import FIRST_ONLY
from jtask_nats.client.nats_errors import WRONG_LAST_SEQUENCE, ApiError
from jtask_nats.client.publisher import Publisher


class Sent:
    """A group that was sent, and what came of each of its messages."""

    def __init__(
        self, publisher: Publisher, subjects: Sequence[str], bodies: Sequence[bytes] = ()
    ) -> None:
        self.size = len(subjects)
        self.outcomes: dict[int, BrokerError | None] = {}
        bodies = bodies or [b"x"] * self.size
        publisher.publish_each_then(subjects, FIRST_ONLY, bodies, self._take)

    def _take(self, places: Sequence[int], error: BrokerError | None) -> None:
        assert not self.outcomes.keys() & set(places), "each is answered once"
        self.outcomes.update(dict.fromkeys(places, error))

    async def ended(self) -> list[BrokerError | None]:
        await until(lambda: len(self.outcomes) == self.size)
        return [self.outcomes[place] for place in range(self.size)]

    def kinds(self) -> set[type[Any]]:
        return {type(outcome) for outcome in self.outcomes.values()}


def subjects_of(count: int, name: str = "a") -> list[str]:
    return [f"s.{name}.{number}" for number in range(count)]


def test_each_message_of_a_group_is_stored(publishing: Publishing) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        groups = [Sent(publisher, subjects_of(size, str(size))) for size in (1, 2, 300, 1000)]
        for group in groups:
            assert await group.ended() == [None] * group.size
        assert await stored(connection) == 1303
        assert len(publisher._unanswered) == 0

    publishing(main)


def test_a_refusal_is_about_one_message_only(publishing: Publishing) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        subjects = subjects_of(100)
        await Sent(publisher, subjects[::10]).ended()
        outcomes = await Sent(publisher, subjects).ended()
        refused = [place for place, outcome in enumerate(outcomes) if outcome is not None]
        assert refused == list(range(0, 100, 10))
        assert {getattr(outcomes[place], "err_code", None) for place in refused} == {
            WRONG_LAST_SEQUENCE
        }
        assert await stored(connection) == 100

    publishing(main)


def test_what_the_server_would_not_take_is_refused_and_the_others_are_sent(
    publishing: Publishing,
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        lost: list[str] = []
        connection.on_disconnect(lambda: lost.append("lost"))
        bodies = [b"x", b"x" * connection.max_payload, b"x", b"x"]
        group = Sent(publisher, ["s.1", "s.2", "s.with blank", "s.4"], bodies)
        outcomes = await group.ended()
        assert [type(outcome) for outcome in outcomes[1:3]] == [MessageRefused] * 2
        assert (outcomes[0], outcomes[3]) == (None, None)
        assert await stored(connection) == 2
        assert lost == []

    publishing(main)


def test_a_paused_server_gets_each_message_of_a_group_once(
    publishing: Publishing, nats_server: NatsServer
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        nats_server.pause()
        group = Sent(publisher, subjects_of(100))
        pending = publisher._unanswered._pending
        await until(lambda: pending and all(one.sent > 1 for one in pending.values()))
        nats_server.resume()
        assert await group.ended() == [None] * 100
        assert await stored(connection) == 100

    publishing(main)


def test_killing_the_server_in_the_middle_of_groups_loses_no_message(
    publishing: Publishing, nats_server: NatsServer
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        groups = [Sent(publisher, subjects_of(200, f"first{n}")) for n in range(5)]
        await until(lambda: len(groups[1].outcomes) > 0)
        nats_server.pause()  # so that some are surely under way
        groups += [Sent(publisher, subjects_of(200, f"second{n}")) for n in range(5)]
        await until(lambda: connection._outbox.is_empty)
        nats_server.kill()
        assert not groups[-1].outcomes
        nats_server.start()
        outcomes = [outcome for group in groups for outcome in await group.ended()]
        # A copy of one that had been stored says so: whoever sends it knows what that means.
        codes = {one.err_code if isinstance(one, ApiError) else one for one in outcomes}
        assert codes <= {None, WRONG_LAST_SEQUENCE}
        assert await stored(connection) == 2000

    publishing(main)


def test_a_lost_answer_is_asked_for_again_and_the_others_are_not(
    publishing: Publishing, proxy: Proxy
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        proxy.cut_before_answer = b'"seq"'
        outcomes = await Sent(publisher, subjects_of(50)).ended()
        codes = {one.err_code if isinstance(one, ApiError) else one for one in outcomes}
        assert codes <= {None, WRONG_LAST_SEQUENCE}
        assert await stored(connection) == 50
        assert proxy.cuts == 1

    publishing(main, proxy)


def test_a_group_without_an_answer_ends_with_its_time(
    publishing: Publishing, nats_server: NatsServer
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        nats_server.kill()
        await until(lambda: not connection.is_connected)
        group = Sent(publisher, subjects_of(10))
        await group.ended()
        assert group.kinds() == {BrokerUnavailable}
        assert len(publisher._unanswered) == 0

    publishing(main, timeout=0.5)


def test_a_stream_that_comes_late_gets_the_messages_of_a_group(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        group = Sent(Publisher(connection, timeout=PATIENT), subjects_of(10))
        # All have been refused once when a request sent later has its answer.
        assert (await connection.request("s.z")).status == 503
        assert not group.outcomes
        await make_stream(connection)
        assert await group.ended() == [None] * 10
        assert await stored(connection) == 10

    connected(main)


def test_what_is_not_permitted_ends_that_message_only(
    publishing: Publishing, start_nats: StartNats
) -> None:
    server = start_nats(config=GUEST)

    async def main(connection: Connection, publisher: Publisher) -> None:
        outcomes = await Sent(publisher, ["s.open", "s.closed.x", "s.more"]).ended()
        assert [type(outcome) for outcome in outcomes] == [type(None), PermissionDenied, type(None)]
        assert await stored(connection) == 2

    publishing(main, to=server, timeout=1000, login={"user": "guest", "password": "guest"})


def test_closing_the_connection_ends_what_waits_and_what_is_sent_after(
    publishing: Publishing, nats_server: NatsServer
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        nats_server.pause()
        before = Sent(publisher, subjects_of(10))
        await asyncio.sleep(0)
        closing = asyncio.create_task(connection.close())
        await before.ended()
        await closing
        after = Sent(publisher, subjects_of(10))
        assert len(after.outcomes) == 10
        assert before.kinds() == after.kinds() == {BrokerUnavailable}
        nats_server.resume()

    publishing(main)
