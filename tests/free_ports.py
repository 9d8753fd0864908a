"""Ports for servers that others have to know, or look for, before they listen."""

import random
import socket

# Below those that the kernel gives to whoever binds none, and to clients: one of those that looks
# for a server which is not there yet can be given the very port, and is then connected to itself.
_PORTS = range(20_000, 32_000)


def free_ports(count: int = 1) -> list[int]:
    """Return ports that nobody uses now, one after the other."""
    while True:
        first = random.choice(_PORTS)
        found = list(range(first, first + count))
        if all(map(_is_free, found)):
            return found


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
