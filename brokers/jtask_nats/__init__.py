"""The broker contract on NATS JetStream."""

import asyncio
from typing import TYPE_CHECKING, cast

from jtask.contract import Broker, OpenResultStore, SeparatePart
from jtask.hidden_libraries import refuse_hidden_library

if TYPE_CHECKING:
    from jtask.settings import SettingsModel

__all__ = [
    "jtask_settings",
    "open_broker",
    "open_embedded",
    "open_embedded_results",
    "open_results",
]

_LIBRARY = "nats"


def jtask_settings() -> "type[SettingsModel]":
    """Declare the settings of NATS servers, and of the embedded one."""
    from jtask_nats.settings import NatsSettings

    return NatsSettings


async def open_broker(url: str, client: str, loop: asyncio.AbstractEventLoop) -> Broker:
    """Connect to a NATS server or cluster: the factory of `nats://` and `tls://`.

    Args:
        url: Hosts with commas between, a user and password if need be.
        client: This process's client id.
        loop: The running loop.
    """
    del loop
    refuse_hidden_library(_LIBRARY)
    from jtask_nats.opening import open_server

    return await open_server(url, client)


async def open_embedded(url: str, client: str, loop: asyncio.AbstractEventLoop) -> Broker:
    """Connect to this user's own server, and start it if need be: the factory of `embedded://`.

    Args:
        url: `embedded://`.
        client: This process's client id.
        loop: The running loop.
    """
    del loop
    refuse_hidden_library(_LIBRARY)
    from jtask_nats.opening import open_own

    return await open_own(url, client)


async def open_results(url: str, client: str, loop: asyncio.AbstractEventLoop) -> OpenResultStore:
    """Connect to a server that keeps outcomes for another broker; the arguments as above."""
    del loop
    refuse_hidden_library(_LIBRARY)
    from jtask_nats.broker import OUTCOMES
    from jtask_nats.opening import open_server

    return _results_of(await open_server(url, client, OUTCOMES))


async def open_embedded_results(
    url: str, client: str, loop: asyncio.AbstractEventLoop
) -> OpenResultStore:
    """Let this user's own server keep outcomes for another broker; the arguments as above."""
    del loop
    refuse_hidden_library(_LIBRARY)
    from jtask_nats.broker import OUTCOMES
    from jtask_nats.opening import open_own

    return _results_of(await open_own(url, client, OUTCOMES))


def _results_of(broker: Broker) -> OpenResultStore:
    return cast("OpenResultStore", SeparatePart(broker, "results"))
