"""Whose turn it is on a queue: one tenant after the other, as runs start."""

import asyncio
import logging
from collections import deque
from weakref import WeakKeyDictionary

from jtask.background import BackgroundTasks
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
        self._left = 0
        """Runs that have left the queue, and for which no other was woken yet."""
        self._background = BackgroundTasks()
        self._is_waking = False

    def run_starts(self, tenant: str) -> None:
        """Wake a run of the next tenant for one that leaves the queue; returns at once.

        Args:
            tenant: Of the one that leaves; it may have more.
        """
        self._add(tenant)
        self._left += 1
        if not self._is_waking:
            self._is_waking = True
            self._background.start(self._make_up())

    def close(self) -> None:
        """Wake no run any more."""
        self._background.cancel()

    async def _make_up(self) -> None:
        try:
            while self._left:
                async with self._lock:
                    count, self._left = self._left, 0
                    await self._wake(count)
        except BrokerError as error:  # a worker looks again soon
            _log.debug("no run was woken: %s", error)
        finally:
            self._is_waking = False

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
            share = max(1, count // len(self._ring))
            for _ in range(min(count, len(self._ring))):
                count -= await self._wake_next(share)

    async def _wake_next(self, share: int) -> int:
        """Wake runs of the tenant whose turn it is; return how many."""
        tenant = self._ring.popleft()
        woken = await self._tenants.wake(tenant, share)
        if woken == share or not await self._tenants.leave(tenant):
            self._add(tenant)  # one of its runs may have started meanwhile, and added it
        return woken


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
    client.io.post(lambda: turns_on(client, queue).run_starts(tenant))
