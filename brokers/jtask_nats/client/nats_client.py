"""nats-py's client, for servers, handshake, credentials, pings and reconnecting.

Messages go past it: they are cut by `protocol.Parser` as they arrive and handed to plain functions,
instead of a queue and a task for each subscription.
"""

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlparse

from nats.aio.client import Client as BaseClient
from nats.aio.client import Server, Srv
from nats.errors import StaleConnectionError, UnexpectedEOF

from jtask.background import BackgroundTasks, end_all
from jtask.errors import BrokerError, ConfigurationError
from jtask.randomness import RANDOM
from jtask_nats.client.greeting import Greeting
from jtask_nats.client.nats_errors import unreachable
from jtask_nats.client.protocol import Handler, Parser, Reader
from jtask_nats.client.shared_socket import SharedSocket

# Seconds; two pings without an answer end the connection. With nats-py's own 120 s a dead server
# would be noticed after four minutes.
_PING_EVERY = 10.0
# Where there is another server to go to: in six seconds at most, which leaves enough of a lease and
# of the enqueue timeout for that.
_PING_EVERY_OF_SEVERAL = 2.0
_MOST_UNANSWERED = 2
# Seconds: base, jitter. nats-py waits 2 s without any: the clients of a server that was restarted
# would all come back at the same moment.
_RECONNECT_WAIT = (0.1, 0.25)


class NatsClient(BaseClient):
    """One connection that comes back by itself, for ever.

    Args:
        socket: What it reads and writes.
        handlers: By subscription id as it stands on the wire.
        readers: See `Parser`.
        up: Called after each handshake; may write at once.
        down: Called when the connection is lost, with the reason; never without an `up` before it.
        server_error: Called with the text of each `-ERR` line.
        greeting: How this process introduces itself to servers.

    Attributes:
        is_up: Whether messages can be sent right now.
    """

    _reading_task: asyncio.Task[None] | None
    _ping_interval_task: asyncio.Task[None] | None
    _flusher_task: asyncio.Task[None] | None
    _pongs: list[asyncio.Future[bool]]

    def __init__(
        self,
        socket: SharedSocket,
        handlers: dict[bytes, Handler],
        readers: dict[bytes, Reader],
        *,
        up: Callable[[], None],
        down: Callable[[str], None],
        server_error: Callable[[str], None],
        greeting: Greeting,
    ) -> None:
        super().__init__()
        self._socket = self._transport = socket
        self._handlers = handlers
        self._readers = readers
        self._up = up
        self._down = down
        self._server_error = server_error
        self._greeting = greeting
        self.is_up = False
        self._infos = BackgroundTasks()
        self._tried: dict[str, float] = {}
        """When each server was lost or tried last."""

    @property
    def info(self) -> Mapping[str, Any]:
        """The INFO of the server connected to last."""
        return self._server_info

    @property
    def url(self) -> str | None:
        """The server connected to; the one behind a gate while it is away, too."""
        if self._current_server is None or not (self.is_up or self._greeting.gate):
            return None
        uri = self._current_server.uri
        return f"{uri.scheme}://{uri.hostname}:{uri.port}"

    async def connect_to(
        self,
        servers: list[str],
        timeout: float,
        on_error: Callable[[Exception], Awaitable[None]],
        last_error: Callable[[], str],
    ) -> None:
        """Connect to one of some servers, trying until the time is up.

        Args:
            servers: URLs without credentials.
            timeout: Seconds.
            on_error: Called with what fails on the way, now and at each reconnect.
            last_error: Returns why the last try failed.

        Raises:
            BrokerUnavailable: No server accepted the connection in time.
            ConfigurationError: A file of the login or of the certificates will not do.
            BrokerError: What `on_error` has raised.
        """
        names = ",".join(servers)
        try:
            async with asyncio.timeout(timeout):
                await self.connect(
                    servers,
                    error_cb=on_error,
                    # nats-py closes for good after 60 attempts by default.
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_WAIT[0],  # type: ignore[arg-type]
                    reconnect_to_server_handler=self._next_server,
                    # Else the first server that is silent would use up the time of all.
                    connect_timeout=timeout / len(servers),  # type: ignore[arg-type]
                )
        except (BrokerError, ConfigurationError):
            raise
        except TimeoutError:
            raise unreachable(names, timeout, last_error() or "no answer") from None
        except Exception as error:
            raise unreachable(names, timeout, str(error) or repr(error)) from None

    async def shut(self) -> None:
        """Close for good and leave no task behind."""
        await self.close()
        self._socket.close()
        # nats-py's close cancels its tasks and does not wait for them.
        tasks = [self._reading_task, self._ping_interval_task, self._flusher_task]
        left = (*tasks, self._reconnection_task, *self._infos)
        await end_all([task for task in left if task is not None])

    async def _connect_to_server(self, s: Srv) -> None:
        if self._greeting.gate is not None:
            s.uri = urlparse(self._greeting.gate.find())
        await super()._connect_to_server(s)

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """What nats-py begins TLS with."""
        return self._greeting.tls_context()

    def _connect_command(self) -> bytes:
        return self._greeting.connect_command(self._server_info, self._socket.own_port)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and self._greeting.wants_tls(info):
            # nats-py continues in plain text where TLS is only offered.
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)

    async def _process_connect_init(self) -> None:
        self._set_down("the connection was replaced")
        self._cancel_tasks()
        await super()._process_connect_init()
        if not self.is_connected:
            self._cancel_tasks()
            raise ConnectionError("the server closed the connection during the handshake")
        self.is_up = True
        self._up()
        # Last: a thread must not publish before the subscription for its answer is back.
        self._socket.share()

    async def _ping_interval(self) -> None:
        """End the connection to a server that is silent; in place of nats-py's own."""
        while True:
            is_only_one = len(self._server_pool) == 1
            await asyncio.sleep(_PING_EVERY if is_only_one else _PING_EVERY_OF_SEVERAL)
            if not self.is_up:
                continue
            # On a slow line pings and their answers wait behind what is on its way.
            if self._socket.has_moved():
                self._pings_outstanding = 0
            if self._pings_outstanding >= _MOST_UNANSWERED:
                await self._process_op_err(StaleConnectionError())
                return
            self._pings_outstanding += 1
            await self._send_ping()  # pyright: ignore[reportUnknownMemberType]

    async def _attempt_reconnect(self) -> None:
        while True:
            try:
                return await super()._attempt_reconnect()
            except Exception as error:
                # nats-py stops for good at what it does not expect, such as a garbled greeting.
                await self._error_cb(error)
                self._status = self.RECONNECTING
                await asyncio.sleep(_RECONNECT_WAIT[0])

    async def _read_loop(self) -> None:
        parser = Parser(self._handlers, self._process_line, self._readers)
        error = await self._socket.pump(parser.feed)
        # Else this connection has been replaced, and its end is no news.
        if self._reading_task is asyncio.current_task():
            await self._process_op_err(error or UnexpectedEOF())

    async def _process_op_err(self, e: Exception) -> None:
        self._set_down(str(e) or type(e).__name__)
        if self._current_server is not None:
            self._tried[self._current_server.uri.netloc] = time.monotonic()
        await super()._process_op_err(e)

    def _next_server(
        self, servers: list[Server], info: dict[str, Any]
    ) -> tuple[Server | None, float]:
        """Choose the server that was tried longest ago, and how long to wait before, in seconds.

        So the one that was just lost comes last: who connects to one that is frozen waits in vain
        for its greeting. nats-py's own counts do not say which that is.
        """
        del info
        base, jitter = _RECONNECT_WAIT
        chosen = min(servers, key=lambda server: self._tried.get(server.uri.netloc, 0.0))
        self._tried[chosen.uri.netloc] = time.monotonic()
        return chosen, base + RANDOM.random() * jitter

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        self._set_down("closed")
        await super()._close(status, do_cbs)

    def _process_line(self, line: bytes) -> None:
        if line.startswith(b"PING"):
            self._socket.write(b"PONG\r\n")
        elif line.startswith(b"PONG"):
            self._take_pong()
        elif line.startswith(b"-ERR"):
            # The server closes the connection itself where an error is fatal.
            self._server_error(line[4:].strip().strip(b"'").decode("utf-8", "replace"))
        elif line.startswith(b"INFO"):
            self._take_info(json.loads(line[4:]))
        elif not line.startswith(b"+OK"):
            raise ConnectionError(f"the server does not speak the NATS protocol: {line[:40]!r}")

    def _take_pong(self) -> None:
        self._pings_outstanding = 0
        if self._pongs:
            waiter = self._pongs.pop(0)
            if not waiter.done():
                waiter.set_result(True)

    def _take_info(self, info: dict[str, Any]) -> None:
        self._max_payload = info.get("max_payload", self._max_payload)
        self._infos.start(self._process_info(info))

    def _set_down(self, reason: str) -> None:
        if self.is_up:
            self.is_up = False
            self._down(reason)

    def _cancel_tasks(self) -> None:
        """End what an attempt before this one has left running; nats-py would forget it."""
        for task in (self._reading_task, self._ping_interval_task, self._flusher_task):
            if task is not None and not task.done():
                task.cancel()
