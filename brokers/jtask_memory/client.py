"""What every part of a memory broker has: its space, its loop, and an end."""

import asyncio

from jtask.errors import BrokerUnavailable
from jtask_memory.space import Space


class SpaceClient:
    """One client of a space; several, on several loops and threads, may share it.

    Args:
        url: What the space is called.
        space: Where everything is stored.
        loop: The loop on which this client is used.
    """

    def __init__(self, url: str, space: Space, loop: asyncio.AbstractEventLoop) -> None:
        self._url = url
        self._all = space
        self._loop = loop
        self._is_closed = False

    @property
    def _space(self) -> Space:
        if self._is_closed:
            raise BrokerUnavailable(f"this client of {self._url} is closed; open another one")
        return self._all

    def _now(self) -> float:
        return self._all.clock.time()
