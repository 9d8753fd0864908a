"""Who is at the other end of a connection inside this machine, as its kernel says."""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from jtask_nats.server.config import HOST

# The second one also lists IPv4 connections, if the program listens on IPv6.
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED = "01"
# As the kernel prints an address: the number in memory, in hexadecimal digits.
_HOST = f"{struct.unpack('=I', socket.inet_aton(HOST))[0]:08X}"


def owner_of_peer(port: int, own_port: int) -> int | None:
    """Return the user of the program that has accepted a connection to 127.0.0.1.

    Args:
        port: Where it accepted it.
        own_port: Our end's.

    Returns:
        int | None: None where the system does not tell; Linux does.
    """
    for fields in _connections():
        local, remote, state, user = fields[1], fields[2], fields[3], fields[7]
        if (
            state == _ESTABLISHED
            and local.endswith(f"{_HOST}:{port:04X}")
            and remote.endswith(f"{_HOST}:{own_port:04X}")
        ):
            return int(user)
    return None


def _connections() -> Iterator[list[str]]:
    for table in _TABLES:
        try:
            lines = table.read_text().splitlines()
        except OSError:
            continue
        yield from (line.split() for line in lines[1:])
