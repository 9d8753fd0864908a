"""A connection beside the main one, for one thread or one event loop.

What has no clean answer on it is for the main connection, which waits, retries and explains.
"""

import contextlib
import json
import socket
from typing import Any, Self, cast
from urllib.parse import urlsplit

from jtask_nats.client.greeting import Greeting
from jtask_nats.client.protocol import CRLF, Handler, Parser

_CHUNK = 1 << 16  # bytes read at once
_LONGEST_INFO = 1 << 20  # bytes
_SID = b"1"


class LinkLost(ConnectionError):
    """The server has ended the connection, or refuses something on it."""


class Link:
    """Connected and logged in, with one subscription, for the answers.

    Args:
        plain: The socket.
        replies: The subject on which answers arrive, which ends in `.*`.
    """

    def __init__(self, plain: socket.socket, replies: str) -> None:
        self._socket = plain
        self._replies = replies
        self._pongs = 0
        self._handlers: dict[bytes, Handler] = {_SID: self._on_message}
        self._parser = Parser(self._handlers, self._on_line)

    @classmethod
    def open(cls, url: str, greeting: Greeting, replies: str, timeout: float) -> Self:
        """Connect and log in, blocking the thread.

        Args:
            url: Of the server, without credentials.
            greeting: How to introduce ourselves.
            replies: Where answers shall arrive, which ends in `.*`; nobody else uses it.
            timeout: Seconds for each step, and later for each answer.

        Raises:
            OSError: It cannot be reached, or does not let us in.
            ProtocolError: It is no NATS server.
            BrokerError: It will not do.
            ConfigurationError: A file of the login or of the certificates will not do.
        """
        address = urlsplit(url if greeting.gate is None else greeting.gate.find())
        host = address.hostname or ""
        plain = socket.create_connection((host, address.port or 4222), timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            port = plain.getsockname()[1]
            info = _read_info(plain)
            if greeting.wants_tls(info):
                plain = greeting.tls_context().wrap_socket(plain, server_hostname=host)
            link = cls(plain, replies)
            link._log_in(greeting.connect_command(info, port))
            link._begin(timeout)
        except BaseException:
            plain.close()
            raise
        return link

    def close(self) -> None:
        """End the connection; a thread that waits for an answer gets an error. From any thread."""
        with contextlib.suppress(OSError):
            # To close alone would not wake it.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _begin(self, timeout: float) -> None:
        """Get ready for messages; the handshake is over."""
        raise NotImplementedError

    def _on_message(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        """Take an answer."""
        raise NotImplementedError

    def _log_in(self, command: bytes) -> None:
        subscription = b"SUB %b %b\r\n" % (self._replies.encode(), _SID)
        self._socket.sendall(command + subscription + b"PING\r\n")
        while not self._pongs:
            self._read()

    def _read(self) -> None:
        chunk = self._socket.recv(_CHUNK)
        if not chunk:
            raise LinkLost("the server has ended the connection")
        self._parser.feed(chunk)

    def _write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def _on_line(self, line: bytes) -> None:
        if line.startswith(b"PING"):
            self._write(b"PONG\r\n")
        elif line.startswith(b"PONG"):
            self._pongs += 1
        elif not line.startswith((b"INFO", b"+OK")):
            raise LinkLost(line[:200].decode("utf-8", "replace"))


def _read_info(plain: socket.socket) -> dict[str, Any]:
    received = b""
    while not received.endswith(CRLF):
        chunk = plain.recv(_CHUNK)
        received += chunk
        if not chunk or len(received) > _LONGEST_INFO:
            raise LinkLost("the server did not say what it is")
    kind, _, info = received.partition(b" ")
    try:
        found: object = json.loads(info) if kind == b"INFO" else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise LinkLost(f"a NATS server would not say {received[:40]!r}")
    return cast("dict[str, Any]", found)
