"""Questions and who hears them, on a real nats-server."""

from types import SimpleNamespace
from typing import Any, cast

from nats_clients import Connected
from nats_servers import Proxy
from waiting import until

from jtask_nats.client.connection import Connection
from jtask_nats.stores.requests import NatsRequests
from jtask_nats.streams.subjects import Subjects


def test_who_begins_to_listen_while_the_connection_breaks_is_heard_after_it(
    connected: Connected, proxy: Proxy
) -> None:
    async def main(connection: Connection) -> None:
        subjects = Subjects("test")
        control = NatsRequests(
            cast("Any", SimpleNamespace(connection=connection, subjects=subjects))
        )
        proxy.cut_after_request = subjects.request("news").encode()
        await control.listen("news", lambda question: b"heard " + question)
        await until(lambda: connection.is_connected)
        assert proxy.cuts == 1
        assert await control.ask("news", b"it", timeout=10, answers=1) == [b"heard it"]

    connected(main, proxy)


def test_a_lost_connection_is_a_gap_in_what_is_heard(connected: Connected, proxy: Proxy) -> None:
    async def main(connection: Connection) -> None:
        subjects = Subjects("test")
        control = NatsRequests(
            cast("Any", SimpleNamespace(connection=connection, subjects=subjects))
        )
        gaps: list[None] = []
        closed = await control.listen("news", lambda _: None, lambda: gaps.append(None))
        await closed.close()
        await control.listen("news", lambda _: None, lambda: gaps.append(None))
        await control.listen("other", lambda _: None)
        proxy.cut_after_request = subjects.request("last").encode()
        await control.listen("last", lambda _: None)
        await until(lambda: bool(gaps))
        assert gaps == [None]

    connected(main, proxy)
