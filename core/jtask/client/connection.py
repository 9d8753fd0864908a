"""Connect to the broker when the program wants to, and disconnect: `jtask.connect`, `jtask.close`.

Nobody has to: the first run that is delayed, or waited for, connects, and the end of the program
disconnects.
"""

import asyncio
import os
from collections.abc import Generator
from typing import Any, Self

from jtask.client.client import Client
from jtask.client.opening import without_credentials
from jtask.client.process_client import close_client, current_client, get_client
from jtask.daemon_calls import call_in_daemon
from jtask.errors import ConfigurationError
from jtask.settings import get_settings, put_settings

_VARIABLE = "JTASK_URL"


class Connection:
    """This process's connection, from `connect`; as a context manager it is closed at the end."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def url(self) -> str:
        """Where the broker is, without credentials."""
        return self._client.broker.url

    def __repr__(self) -> str:
        return f"<jtask connection to {self.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        close()


class Connecting:
    """What `aconnect` returns: await it, or enter it with `async with`."""

    def __init__(self, url: str | None) -> None:
        self._url = url

    def __await__(self) -> Generator[Any, None, Connection]:
        return call_in_daemon("jtask-connect", connect, self._url).__await__()

    async def __aenter__(self) -> Connection:
        return await self

    async def __aexit__(self, *_: object) -> None:
        await aclose()


def connect(url: str | None = None) -> Connection:
    """Connect this process to the broker now, and fail now if that cannot be done.

    Without it the first run that is delayed connects. A process has one connection: connecting
    again to the same broker returns it.

    Args:
        url: For this process and those that it starts from now on, instead of `JTASK_URL`; it
            stays when the connection is closed.

    Raises:
        ConfigurationError: No broker has the URL, or the process is connected to another one.
        BrokerUnavailable: It cannot be reached within the setting `connect_timeout`.
        PermissionDenied: It refuses the user.
    """
    if url is None or url == get_settings().url:
        return Connection(get_client())
    _refuse_second(url)
    before = os.environ.get(_VARIABLE)
    # Into the environment, so that the processes which this one starts use the same broker.
    put_settings(url=url)
    try:
        return Connection(get_client())
    except BaseException:
        # So that the program may try again with another URL.
        _restore(before)
        raise


def aconnect(url: str | None = None) -> Connecting:
    """Do what `connect` does without blocking the event loop.

    `await jtask.aconnect()` stays connected; `async with jtask.aconnect():` closes at the end.
    """
    return Connecting(url)


def close() -> None:
    """Send what is still buffered, and disconnect this process; nothing happens when it is not.

    Who still waits for a run gets `BrokerUnavailable`; the run continues, and `jtask.get_run`
    finds it again. The next use connects again. Not for a process in which a worker works.
    """
    close_client()


async def aclose() -> None:
    """Do what `close` does without blocking the event loop."""
    await asyncio.to_thread(close)


def _refuse_second(url: str) -> None:
    client = current_client()
    if client is not None:
        raise ConfigurationError(
            f"this process is connected to {client.broker.url}: call jtask.close() before it can "
            f"connect to {without_credentials(url)}"
        )


def _restore(before: str | None) -> None:
    if before is None:
        del os.environ[_VARIABLE]
    else:
        os.environ[_VARIABLE] = before
    get_settings.cache_clear()
