"""Whose turn it is on a queue: one tenant after the other, as runs start."""

import asyncio
import logging
from collections import deque
from weakref import WeakKeyDictionary

from jtask.client import Client, get_client
from jtask.errors import BrokerError
from jtask_fairness.tenants import Tenants

_log = logging.getLogger("jtask")


class Turns:
    """The turns on a queue as one process takes them; on the I/O loop.

    Args:
        tenants: Of the queue.
    """

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._ring: deque[str] = deque()
        self._lock = asyncio.Lock()

    async def run_starts(self, tenant: str) -> None:
        """Wake a run of the next tenant for one that leaves the queue.

        Args:
            tenant: Of the one that leaves; it may have more.
        """
        async with self._lock:
            self._add(tenant)
            await self._wake(1)

    async def fill(self, window: int) -> None:
        """Wake what there is room for, of all tenants that are noted.

        Args:
            window: How many runs are on the queue, or executed, before others are parked.
        """
        async with self._lock:
            for tenant in await self._tenants.list():
                self._add(tenant)
            if self._ring:
                await self._wake(window - await self._tenants.on_queue())

    def _add(self, tenant: str) -> None:
        if tenant not in self._ring:
            self._ring.append(tenant)

    async def _wake(self, count: int) -> None:
        while count > 0 and self._ring:
            tenant = self._ring.popleft()
            if await self._tenants.wake(tenant):
                count -= 1
                self._ring.append(tenant)
            elif not await self._tenants.leave(tenant):
                self._ring.append(tenant)


_turns: WeakKeyDictionary[Client, dict[str, Turns]] = WeakKeyDictionary()


def turns_on(client: Client, queue: str) -> Turns:
    """Return the turns on a queue, made by the first use."""
    by_queue = _turns.setdefault(client, {})
    if queue not in by_queue:
        by_queue[queue] = Turns(Tenants(client.broker, queue))
    return by_queue[queue]


def run_starts(queue: str, tenant: str) -> None:
    """Have a run of the next tenant woken; returns at once, from any thread."""
    client = get_client()
    client.io.submit(_run_starts(client, queue, tenant))


async def _run_starts(client: Client, queue: str, tenant: str) -> None:
    try:
        await turns_on(client, queue).run_starts(tenant)
    except BrokerError as error:  # a worker looks again soon
        _log.debug("no run of queue %s was woken: %s", queue, error)
