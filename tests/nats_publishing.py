"""A stream of a test's nats-server, and publishing to it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from nats_clients import Connected
from nats_servers import NatsServer, Proxy

from jtask_nats.client.connection import Connection
from jtask_nats.client.publisher import Publisher

PATIENT = 50.0  # seconds
GUEST = """
authorization { users: [
  { user: guest, password: guest, permissions: { publish: { deny: "s.closed.>" } } }
] }
"""
Publishing = Callable[..., None]  # the fixture `publishing`


async def make_stream(connection: Connection, name: str = "S", **config: Any) -> None:
    subjects = [f"{name.lower()}.>"]
    await connection.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": subjects, **config})


async def stored(connection: Connection, name: str = "S") -> int:
    info = await connection.api(f"STREAM.INFO.{name}", timeout=30)
    return int(info["state"]["messages"])


@pytest.fixture
def publishing(connected: Connected) -> Publishing:
    """Run a coroutine function with a connection, and a publisher to a stream of it, `S`.

    The connection has the options `login`, the stream all others.
    """

    def run_publishing(
        main: Callable[[Connection, Publisher], Awaitable[None]],
        to: NatsServer | Proxy | None = None,
        timeout: float = PATIENT,
        login: Mapping[str, str] | None = None,
        **config: Any,
    ) -> None:
        async def around(connection: Connection) -> None:
            await make_stream(connection, **{"allow_atomic": True, **config})
            await main(connection, Publisher(connection, timeout=timeout))

        connected(around, to, **(login or {}))

    return run_publishing
