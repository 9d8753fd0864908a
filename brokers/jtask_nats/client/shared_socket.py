"""The socket to the server: the I/O loop reads it, any thread may write it."""

import asyncio
import contextlib
import os
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import ParseResult

from nats.aio.transport import Transport

from jtask.signal_safety import SignalSafeLock

_CHUNK = 1 << 17  # bytes read at once
_LINE_END = b"\n"
_MUCH = 1 << 16  # bytes that take long on a slow line

Feed = Callable[[bytes], None]


class SharedSocket(Transport):
    """A TCP socket without asyncio's buffers, so that a thread's write needs no loop.

    Every write goes through one lock and one carry: what the kernel did not take at once is sent
    before anything else, whoever writes next. With TLS the bytes must pass through asyncio's
    streams, and threads must go through the loop.

    It survives reconnects: `connect` begins anew.

    Args:
        loop: Where it is read, and where everything but `write_from_thread` is called.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pid = os.getpid()
        self._lock = SignalSafeLock()
        self._carry = bytearray()
        self._socket: socket.socket | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._shared = False
        self._begin()

    def _begin(self) -> None:
        self._received = bytearray()
        self._feed: Feed | None = None
        self._news = asyncio.Event()
        self._emptied = asyncio.Event()
        self._ended: asyncio.Future[Exception | None] = self._loop.create_future()
        self._has_arrived, self._left = False, 0  # since, and at the last call of `has_moved`

    def __bool__(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        # nats-py replaces a transport that is false.
        return True

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: float) -> None:
        """Open the socket; part of nats-py's interface."""
        del buffer_size
        self.close()
        self._begin()
        # No wait_for: what fails in the moment of its cancellation is reported as never retrieved.
        async with asyncio.timeout(connect_timeout):
            self._socket = await _open_socket(self._loop, uri.hostname or "", uri.port or 4222)
        self._loop.add_reader(self._socket, self._on_readable)

    async def connect_tls(
        self,
        uri: str | ParseResult,
        ssl_context: ssl.SSLContext,
        buffer_size: int,
        connect_timeout: float,
    ) -> None:
        """Go on with TLS on the open socket; part of nats-py's interface."""
        del buffer_size
        if self._socket is None:
            raise ConnectionError("not connected")
        plain, self._socket = self._socket, None
        self._loop.remove_reader(plain)
        name = uri if isinstance(uri, str) else uri.hostname
        async with asyncio.timeout(connect_timeout):
            self._streams = await asyncio.open_connection(
                sock=plain, ssl=ssl_context, server_hostname=name
            )

    @property
    def own_port(self) -> int:
        """The port of this end; 0 while there is no plain connection."""
        return self._socket.getsockname()[1] if self._socket is not None else 0

    def share(self) -> None:
        """Let threads write from now on; the handshake is over."""
        with self._lock:
            self._shared = self._socket is not None

    def is_own(self) -> bool:
        """Tell whether this process opened it, not one that forked this one."""
        return os.getpid() == self._pid

    def write_from_thread(self, payload: bytes) -> bool:
        """Write from a thread that is not the loop's.

        Returns:
            bool: False when nothing was taken: not connected, TLS, or a forked child.
        """
        # A forked child may have inherited the lock locked, hence the order.
        if not self._shared or not self.is_own():
            return False
        with self._lock:
            if not self._shared:
                return False
            self._send(payload)
        return True

    def write(self, payload: bytes) -> None:
        """Write from the loop."""
        if self._streams is not None:
            self._streams[1].write(payload)
            return
        with self._lock:
            self._send(payload)

    def writelines(self, payload: list[bytes]) -> None:
        """Write from the loop; part of nats-py's interface."""
        if payload:
            self.write(b"".join(payload))

    async def drain(self) -> None:
        """Wait until the kernel has everything that was written."""
        if self._streams is not None:
            await self._streams[1].drain()
        while self._carry and not self._ended.done():
            self._emptied.clear()
            await self._emptied.wait()

    async def read(self, buffer_size: int) -> bytes:
        """Return what has arrived; part of nats-py's interface, used in no hot path."""
        if self._streams is not None:
            return await self._streams[0].read(buffer_size)
        await self._arrival(lambda: bool(self._received))
        data = bytes(self._received[:buffer_size])
        del self._received[:buffer_size]
        return data

    async def readline(self) -> bytes:
        """Return one line of the handshake, or less at the end; part of nats-py's interface."""
        if self._streams is not None:
            return await self._streams[0].readline()
        await self._arrival(lambda: _LINE_END in self._received)
        line, end, rest = self._received.partition(_LINE_END)
        self._received = rest
        return bytes(line + end)

    async def pump(self, feed: Feed) -> Exception | None:
        """Hand everything that arrives to `feed`, called on the loop, until the connection ends.

        Returns:
            Exception | None: Why it ended; None when the server closed it.
        """
        if self._streams is not None:
            return await self._pump_stream(self._streams[0], feed)
        self._feed = feed
        rest, self._received = bytes(self._received), bytearray()
        if rest:
            self._deliver(rest)
        return await self._ended

    def has_moved(self) -> bool:
        """Tell whether anything has arrived since the last call, or much leaves for the server."""
        before, self._left = self._left, self._unsent()
        arrived, self._has_arrived = self._has_arrived, False
        # Little is soon on its way, also to a server that reads no more.
        return arrived or self._left < before > _MUCH

    def at_eof(self) -> bool:
        """Tell whether the connection is over; part of nats-py's interface."""
        return self._ended.done()

    def close(self) -> None:
        """Drop the connection at once, with whatever the kernel has not taken yet."""
        if not self.is_own():
            # The loop's selector is shared with the parent: only our copy of the socket may go.
            self.abandon()
            return
        with self._lock:
            plain, self._socket, self._shared = self._socket, None, False
            self._carry.clear()
        if plain is not None:
            self._loop.remove_reader(plain)
            self._loop.remove_writer(plain)
            plain.close()
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None
        self._end(None)

    def abandon(self) -> None:
        """Close a forked child's copy of the socket, without a byte to the server."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._shared = None, False

    async def wait_closed(self) -> None:
        """Return: closing is immediate; part of nats-py's interface."""

    async def _arrival(self, enough: Callable[[], bool]) -> None:
        while not enough() and not self._ended.done():
            self._news.clear()
            await self._news.wait()

    def _on_readable(self) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        if data:
            self._deliver(data)
        else:
            self._end(None)

    def _deliver(self, data: bytes) -> None:
        self._has_arrived = True
        if self._feed is None:
            self._received += data
            self._news.set()
            return
        try:
            self._feed(data)
        except Exception as error:
            # The parser has lost its place in the bytes: only a new connection has a beginning.
            self._end(error)

    def _end(self, error: Exception | None) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
        if not self._ended.done():
            self._ended.set_result(error)
        self._news.set()
        self._emptied.set()

    async def _pump_stream(self, reader: asyncio.StreamReader, feed: Feed) -> Exception | None:
        try:
            while data := await reader.read(_CHUNK):
                self._has_arrived = True
                feed(data)
        except Exception as error:
            return error
        return None

    def _unsent(self) -> int:
        if self._streams is None:
            return 0 if self._socket is None else len(self._carry) + _unacknowledged(self._socket)
        transport = self._streams[1].transport
        kept = transport.get_write_buffer_size()
        return kept + _unacknowledged(transport.get_extra_info("socket"))

    def _send(self, payload: bytes) -> None:
        """Send or keep; the lock is held."""
        if self._socket is None:
            return
        if self._carry:
            # In order: nothing may overtake what the kernel has not taken yet.
            self._carry += payload
            return
        sent = self._send_now(payload)
        if sent < len(payload):
            self._carry += memoryview(payload)[sent:]
            self._from_any_thread(self._watch_writable, self._socket)

    def _send_now(self, payload: bytes | bytearray) -> int:
        if self._socket is None:
            return len(payload)
        try:
            return self._socket.send(payload)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            # Lost, like anything in a dying socket's buffer: whoever needs certainty waits for an
            # answer.
            self._from_any_thread(self._fail, self._socket, error)
            return len(payload)

    def _watch_writable(self, plain: socket.socket) -> None:
        # Called later, from any thread: the connection may be another one by now.
        if plain is self._socket:
            self._loop.add_writer(plain, self._on_writable, plain)

    def _on_writable(self, plain: socket.socket) -> None:
        with self._lock:
            if plain is not self._socket:
                return
            del self._carry[: self._send_now(self._carry)]
            if not self._carry:
                self._loop.remove_writer(plain)
                self._emptied.set()

    def _fail(self, plain: socket.socket, error: Exception) -> None:
        if plain is self._socket:
            self._end(error)

    def _from_any_thread(self, callback: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing is left to do
            self._loop.call_soon_threadsafe(callback, *args)


async def _open_socket(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    error: OSError | None = None
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, address in found:
        plain = socket.socket(family, kind, protocol)
        try:
            plain.settimeout(0)
            # Else the kernel would hold a small command back until the one before is acknowledged.
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # As bytes: for text, uvloop imports what turns any alphabet into the names of hosts.
            await loop.sock_connect(plain, (str(address[0]).encode(), *address[1:]))
        except OSError as failure:
            plain.close()
            error = failure
        except BaseException:
            plain.close()
            raise
        else:
            return plain
    raise error or OSError(f"{host} has no address")


def _unacknowledged(plain: Any) -> int:
    """Return how many bytes the kernel has that the other side has not; 0 where it doesn't say."""
    try:
        import fcntl
        import termios

        found = fcntl.ioctl(plain.fileno(), termios.TIOCOUTQ, bytes(4))
    except (ImportError, OSError):
        return 0
    return int.from_bytes(found, sys.byteorder)
