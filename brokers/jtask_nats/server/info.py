"""Ask whoever listens on a local port which nats-server it is."""

import json
import socket
from typing import NamedTuple

from jtask_nats.server.config import HOST

_TIMEOUT = 1.0  # seconds; the server greets as soon as it accepts
_LONGEST = 65_536  # bytes; whatever listens there need not be a nats-server


class ServerInfo(NamedTuple):
    """What a server says of itself before anybody has logged in."""

    server_id: str
    name: str
    version: str


def ask_info(port: int) -> ServerInfo | None:
    """Return what the server on a local port says of itself; None when there is none."""
    try:
        # Not `create_connection`, which looks the host's name up, in any alphabet.
        with socket.socket() as connection:
            connection.settimeout(_TIMEOUT)
            connection.connect((HOST, port))
            greeting = _first_line(connection)
    except OSError:
        return None
    return read_greeting(greeting)


def read_greeting(line: bytes) -> ServerInfo | None:
    """Return what a server's first line says; None when it is not that of a nats-server."""
    verb, _, body = line.partition(b" ")
    if verb.upper() != b"INFO":
        return None
    try:
        info = json.loads(body)
        return ServerInfo(info["server_id"], info["server_name"], info["version"])
    except (ValueError, KeyError, TypeError):
        return None


def _first_line(connection: socket.socket) -> bytes:
    received = b""
    while b"\n" not in received and len(received) < _LONGEST:
        chunk = connection.recv(4096)
        if not chunk:
            break
        received += chunk
    return received.partition(b"\n")[0]
