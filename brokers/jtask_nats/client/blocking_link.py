"""A connection of a thread's own: it publishes, and reads the answer itself."""

import contextlib
import json
import socket
import struct
import time
from typing import Any, cast
from urllib.parse import urlsplit

from jtask_nats.client.greeting import Greeting
from jtask_nats.client.pending import refusal_in
from jtask_nats.client.protocol import CRLF, Parser, publish_command

_CHUNK = 1 << 14  # bytes read at once
_LONGEST_INFO = 1 << 20  # bytes
_SID = b"1"


class LinkLost(ConnectionError):
    """The server has ended the connection, or refuses something on it."""


class BlockingLink:
    """Publish one message after the other, each answered before the next, from any one thread.

    Anything but a stream's clean answer is for others: `publish` then returns None or raises, and
    the caller publishes the message again, on the connection that can wait, retry and explain.

    Args:
        plain: Connected, and logged in.
        inbox: Where the answers arrive; subscribed to.
    """

    def __init__(self, plain: socket.socket, inbox: str) -> None:
        self._socket = plain
        self._inbox = inbox
        self._answer: bytes | None = None
        self._pongs = 0
        self._parser = Parser({_SID: self._on_message}, self._on_line)
        self.used = time.monotonic()
        """When it was used last, on the monotonic clock."""

    @classmethod
    def open(cls, url: str, greeting: Greeting, inbox: str, timeout: float) -> "BlockingLink":
        """Connect and log in.

        Args:
            url: Of the server, without credentials.
            greeting: How.
            inbox: Where answers shall arrive; nobody else uses it.
            timeout: Seconds for each answer of the server, now and later.

        Raises:
            OSError: It cannot be reached, or does not let us in.
            BrokerError: Likewise.
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
            link = cls(plain, inbox)
            link._log_in(greeting.connect_command(info, port))
            _limit(link._socket, timeout)
        except BaseException:
            plain.close()
            raise
        return link

    def publish(self, subject: str, headers: bytes, body: bytes) -> bytes | None:
        """Publish a message and wait for the stream's answer.

        Args:
            subject: One that a stream captures.
            headers: Header lines, each with its line end.
            body: The message.

        Returns:
            bytes | None: See `read_ack`; None when it is a refusal, or nobody has listened.

        Raises:
            OSError: No answer; the message may be stored. The link is of no use any more.
            ProtocolError: Likewise.
        """
        self._answer = None
        self._socket.sendall(publish_command(subject, self._inbox, headers, body))
        while self._answer is None:
            self._read()
        return self._answer if refusal_in(self._answer, subject) is None else None

    def close(self) -> None:
        """End the connection; a thread that waits for an answer gets an error. From any thread."""
        with contextlib.suppress(OSError):
            # To close alone would not wake it.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _log_in(self, command: bytes) -> None:
        subscription = b"SUB %b %b\r\n" % (self._inbox.encode(), _SID)
        self._socket.sendall(command + subscription + b"PING\r\n")
        while not self._pongs:
            self._read()

    def _read(self) -> None:
        chunk = self._socket.recv(_CHUNK)
        if not chunk:
            raise LinkLost("the server has ended the connection")
        self._parser.feed(chunk)

    def _on_message(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        del subject, reply, headers
        self._answer = data

    def _on_line(self, line: bytes) -> None:
        if line.startswith(b"PING"):
            self._socket.sendall(b"PONG\r\n")
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


def _limit(plain: socket.socket, timeout: float) -> None:
    """Let the kernel end what takes too long: Python's own timeouts ask it twice for each call."""
    seconds = struct.pack("@ll", int(timeout), 0)
    plain.settimeout(None)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        plain.setsockopt(socket.SOL_SOCKET, option, seconds)
