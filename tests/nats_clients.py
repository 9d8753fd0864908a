"""Connections to a test's nats-server, brokers on it, and both loops to use them on."""

import asyncio
import contextlib
import gc
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest
import uvloop
from nats_servers import NatsServer, Proxy

from jtask.ids import RunIds
from jtask.settings import Settings
from jtask_nats.access import Access
from jtask_nats.broker import NatsBroker
from jtask_nats.client.connection import Connection
from jtask_nats.settings import NatsSettings

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, Any]], Any]
Connect = Callable[..., Awaitable[Connection]]
OpenBroker = Callable[..., Awaitable[NatsBroker]]
Connected = Callable[..., None]  # the fixture `connected`
WithBrokers = Callable[..., None]  # the fixture `with_brokers`


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine; nothing may be left behind: no task, no unheard exception."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run_clean(main: Coroutine[Any, Any, Any]) -> Any:
        unheard: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.get_loop().set_exception_handler(
                lambda _, context: None if _is_cut_handshake(context) else unheard.append(context)
            )
            result = runner.run(_leaving_no_task(main))
            gc.collect()
        assert unheard == [], unheard
        return result

    return run_clean


def _is_cut_handshake(context: dict[str, Any]) -> bool:
    """Tell whether a time limit has ended in the pass of the loop in which TLS was refused.

    Whoever waits for the handshake is cancelled then, and the loop's own future, which nobody else
    can reach, is never asked why it failed.
    """
    return isinstance(context.get("exception"), ssl.SSLCertVerificationError)


async def _leaving_no_task(main: Coroutine[Any, Any, T]) -> T:
    result = await main
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert left == set(), left
    return result


async def open_connection(url: str, connect_timeout: float = 20.0, **way: Any) -> Connection:
    """Open a connection, patiently: the machine may be busy.

    Args:
        url: One server's.
        connect_timeout: Seconds.
        way: More of the way there, as `Access` has it.
    """
    return await Access([url], **way).connect("test", connect_timeout)


async def open_broker(
    url: str, user: str | None = None, streams: int = 1, **settings: Any
) -> NatsBroker:
    """Open a broker, as a user with the password `pw` perhaps."""
    connection = await open_connection(url, user=user, password=user and "pw")
    access = Access((url,))
    return await NatsBroker.open(
        connection,
        RunIds().client,
        Settings(**settings),
        NatsSettings(nats_streams=streams),
        access,
    )


@pytest.fixture
def connect() -> Connect:
    """Open a connection to a server of the test; options as for `open_connection`."""

    async def connect_to(server: NatsServer, **options: Any) -> Connection:
        return await open_connection(server.url, **options)

    return connect_to


@pytest.fixture
def connected(run: Run, request: pytest.FixtureRequest) -> Connected:
    """Run a coroutine function with a connection that is closed afterwards.

    It goes to `nats_server`, or to what is named; options as for `open_connection`.
    """

    def run_connected(
        main: Callable[[Connection], Awaitable[None]],
        to: NatsServer | Proxy | None = None,
        **options: Any,
    ) -> None:
        async def around(far: NatsServer | Proxy) -> None:
            async with reached(far) as url, contextlib.AsyncExitStack() as opened:
                connection = await open_connection(url, **options)
                opened.push_async_callback(connection.close)
                await main(connection)

        run(around(to or request.getfixturevalue("nats_server")))

    return run_connected


@pytest.fixture
def with_brokers(run: Run, request: pytest.FixtureRequest) -> WithBrokers:
    """Run a coroutine function that gets a function to open brokers with.

    They are on `nats_server`, or on what is named, and are closed afterwards, the last one first.
    """

    def run_with_brokers(
        main: Callable[[OpenBroker], Awaitable[None]],
        on: NatsServer | Proxy | None = None,
    ) -> None:
        async def around(far: NatsServer | Proxy) -> None:
            async with reached(far) as url, contextlib.AsyncExitStack() as opened:

                async def open_one(user: str | None = None, **options: Any) -> NatsBroker:
                    broker = await open_broker(url, user, **options)
                    opened.push_async_callback(broker.close)
                    return broker

                await main(open_one)

        run(around(on or request.getfixturevalue("nats_server")))

    return run_with_brokers


@contextlib.asynccontextmanager
async def reached(far: NatsServer | Proxy) -> AsyncGenerator[str]:
    """Give the URL of a server, or of a proxy that is in its way."""
    if isinstance(far, NatsServer):
        yield far.url
        return
    try:
        yield await far.start()
    finally:
        # Also of a test that fails: uvloop's loops do not close beside a listener.
        await far.stop()
