"""From a URL to a broker: a server somewhere, or the embedded one."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from jtask.errors import ConfigurationError, JTaskError
from jtask.settings import Settings, get_settings, settings_of
from jtask_nats.access import Access
from jtask_nats.broker import EVERYTHING, NatsBroker
from jtask_nats.client.addresses import servers_of
from jtask_nats.client.connection import Connection
from jtask_nats.server.embedded import Endpoint, ensure_server
from jtask_nats.settings import NatsSettings
from jtask_nats.streams.stream_configs import Stream

_REVIVE_EVERY = 1.0  # seconds

_log = logging.getLogger("jtask")


async def open_server(url: str, client: str, streams: Sequence[Stream] = EVERYTHING) -> NatsBroker:
    """Connect to one server or a cluster.

    Args:
        url: `nats://` or `tls://`, user and password or a token if need be, hosts with commas
            between.
        client: This process's client id.
        streams: Those that the broker publishes to.

    Raises:
        BrokerUnavailable: It cannot be reached within the connect timeout.
        BrokerTooOld: It lacks something.
        PermissionDenied: It refuses the user.
        ConfigurationError: The URL, or what is on the server, is not what jtask needs.
    """
    settings, own = get_settings(), settings_of(NatsSettings)
    access = access_to(url, own)
    connection = await _connect(access, client, settings)
    return await NatsBroker.open(connection, client, settings, own, access, streams)


async def open_own(url: str, client: str, streams: Sequence[Stream] = EVERYTHING) -> NatsBroker:
    """Connect to the embedded server; start it when it does not run, now or later.

    Args:
        url: `embedded://`.
        client: This process's client id.
        streams: Those that the broker publishes to.

    Raises:
        BrokerUnavailable: It does not start.
        BrokerTooOld: The program found is too old.
        ConfigurationError: There is none, its folder will not do, or the URL names one.
    """
    if url.partition(":")[2].strip("/"):
        raise ConfigurationError(
            f"the URL of the embedded server names no place, got {url!r}: write embedded://, and "
            "set JTASK_HOME to the folder of its data"
        )
    endpoint = await _ensure()
    access = Access((endpoint.url,), home=str(endpoint.home))
    settings, own = get_settings(), settings_of(NatsSettings)
    connection = await _connect(access, client, settings)
    Revival(connection)
    return await NatsBroker.open(connection, client, settings, own, access, streams)


def access_to(url: str, settings: NatsSettings) -> Access:
    """Return the way to the servers of a URL, as the settings have it."""
    token = settings.nats_token
    return Access(
        tuple(servers_of(url)),
        token=token.get_secret_value() if token else None,
        nkey_seed=_path(settings.nats_nkey_seed),
        credentials=_path(settings.nats_credentials),
        ca=_path(settings.nats_ca),
        certificate=_path(settings.nats_client_certificate),
        key=_path(settings.nats_client_key),
        inbox_prefix=settings.nats_inbox_prefix,
    )


def _path(path: Path | None) -> str | None:
    # The lease guard may have another current folder.
    return str(path.expanduser().absolute()) if path else None


class Revival:
    """Start the embedded server again when it is gone: whoever notices does it.

    Args:
        connection: To it; reconnects by itself once the server is back.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._task: asyncio.Task[None] | None = None
        connection.on_disconnect(self._begin)
        connection.on_close(self._end)

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._revive())

    def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _revive(self) -> None:
        while not self._connection.is_connected:
            try:
                await _ensure()
            except JTaskError as error:
                _log.warning("the embedded server cannot be restarted: %s", error)
            # The connection needs a moment to notice that the server is back.
            await asyncio.sleep(_REVIVE_EVERY)


async def _ensure() -> Endpoint:
    # It blocks: it takes a file lock, and starts a process.
    try:
        starting = asyncio.get_running_loop().run_in_executor(None, ensure_server)
    except RuntimeError:
        # The program is ending: no executor takes work any more, and nobody else needs this loop.
        return ensure_server()
    return await starting


async def _connect(access: Access, client: str, settings: Settings) -> Connection:
    return await access.connect(f"jtask {client}", settings.connect_timeout)
