"""Counters, and slots of a name under a lease."""

from jtask_memory.storage.client import StorageClient
from jtask_memory.storage.ttl_dict import TTLDict


class MemoryCoordinator(StorageClient):
    """The contract's `Coordinator`."""

    async def add(self, key: str, amount: int = 1) -> int:
        """Add to a counter and return its new value."""
        storage = self._storage
        with storage.lock:
            storage.counters[key] = value = storage.counters.get(key, 0) + amount
        return value

    async def acquire(self, name: str, holder: str, limit: int, lease: float) -> bool:
        """Take or renew one of `limit` slots of a name for `lease` seconds."""
        storage = self._storage
        with storage.lock:
            now = self._now()
            slots = storage.slots.setdefault(name, TTLDict())
            # Who holds a slot may renew it, even where the limit has been lowered since.
            if slots.get(holder, now) is None and len(slots.items(now)) >= limit:
                return False
            slots.put(holder, holder, now, now + lease)
        return True

    async def release(self, name: str, holder: str) -> None:
        """Give a slot back; nothing happens when the holder has none."""
        storage = self._storage
        with storage.lock:
            if (slots := storage.slots.get(name)) is not None:
                slots.pop(holder, self._now())
