"""Ports for servers that others have to know, or look for, before they listen."""

import itertools
import os
import random
import socket
from collections.abc import Iterator

# Below those that the kernel gives to whoever binds none, and to clients: one of those that looks
# for a server which is not there yet can be given the very port, and is then connected to itself.
# And while a server is down that is to come back, whoever binds none could be given its port.
_PORTS = range(20_000, 32_000)


def free_ports(count: int = 1) -> list[int]:
    """Return ports that nobody uses now, and that no other test is given for a long time."""
    return list(itertools.islice(filter(_is_free, _own_ports), count))


def _ports_of_process() -> Iterator[int]:
    """Go round those that no other process of this run of the tests takes."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = len(_PORTS) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = _PORTS[number * size : (number + 1) * size]
    # Anywhere: another run of the tests may be under way on this machine.
    first = random.randrange(size)
    return itertools.cycle([*own[first:], *own[:first]])


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


_own_ports = _ports_of_process()
