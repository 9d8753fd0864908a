"""One lock for each key whose value is being computed; the broker frees it when its holder dies."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from jtask.background import BackgroundTasks
from jtask.client import Client
from jtask.errors import BrokerError
from jtask.settings import get_settings
from jtask_caching.store import record_key

T = TypeVar("T")
_PROBE_SECONDS = 1.0
_ALL = 1_000_000
_log = logging.getLogger("jtask")


class Locks:
    """Take and give back the locks of a client's runs, and renew those that are held.

    Args:
        client: The process's link to the broker.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lease = get_settings().lease
        self._held: dict[str, str] = {}
        self._background = BackgroundTasks()
        self._is_renewing = False

    @staticmethod
    def name(key: str) -> str:
        """Return what the lock of a key is called, and what waits for it is parked under."""
        return f"cache-{key}" if len(key) <= 190 else f"cache-{record_key(key)}"

    async def take(self, key: str, run_id: str) -> bool:
        """Take the lock of a key; False while another run has it. From any loop."""
        return await self._on_io(self._take(key, run_id))

    async def give_back(self, key: str, run_id: str, *, wake_all: bool) -> None:
        """Give the lock of a key back, and wake one that waits for it, or all. From any loop."""
        await self._on_io(self._give_back(key, run_id, _ALL if wake_all else 1))

    async def wake_all(self, key: str) -> None:
        """Wake those that wait for the lock of a key. From any loop."""
        await self._on_io(self._client.broker.runs.wake(self.name(key), _ALL))

    async def look_again(self, key: str) -> None:
        """Wake one that waits if the lock is free: it may have been given back just before."""
        await self._on_io(self._look_again(key))

    async def _on_io(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return await self._client.io.bridge(coroutine)

    async def _take(self, key: str, run_id: str) -> bool:
        name = self.name(key)
        if not await self._client.broker.slots.acquire(name, run_id, 1, self._lease):
            return False
        self._held[run_id] = name
        if not self._is_renewing:
            self._is_renewing = True
            self._background.start(self._renew())
        return True

    async def _give_back(self, key: str, run_id: str, wake: int) -> None:
        name, broker = self.name(key), self._client.broker
        self._held.pop(run_id, None)
        await broker.slots.release(name, run_id)
        await broker.runs.wake(name, wake)

    async def _look_again(self, key: str) -> None:
        name, broker = self.name(key), self._client.broker
        probe = f"probe-{self._client.ids.new()}"
        if await broker.slots.acquire(name, probe, 1, _PROBE_SECONDS):
            await broker.slots.release(name, probe)
            await broker.runs.wake(name)

    async def _renew(self) -> None:
        try:
            while self._held:
                await asyncio.sleep(self._lease / 3)
                for run_id, name in list(self._held.items()):
                    with contextlib.suppress(BrokerError):  # it is tried again, within the lease
                        await self._client.broker.slots.acquire(name, run_id, 1, self._lease)
        finally:
            self._is_renewing = False


_locks: WeakKeyDictionary[Client, Locks] = WeakKeyDictionary()


def locks_of(client: Client) -> Locks:
    """Return the locks of a client, made by the first use."""
    return _locks.setdefault(client, Locks(client))
