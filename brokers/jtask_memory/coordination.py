"""What processes agree on, here threads: counters, slots, who lives; and their blobs."""

from jtask_memory.storage_client import StorageClient
from jtask_memory.ttl_dict import TTLDict


class MemoryCoordination(StorageClient):
    """The contract's `Coordinator`, `Presence` and `BlobStore`."""

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

    async def announce(self, worker: str, info: bytes, ttl: float) -> None:
        """Say that a worker lives."""
        storage = self._storage
        with storage.lock:
            now = self._now()
            storage.workers.put(worker, info, now, now + ttl)

    async def workers(self) -> list[tuple[str, bytes]]:
        """List the living workers and what they said of themselves."""
        storage = self._storage
        with storage.lock:
            return storage.workers.items(self._now())

    async def put_blob(self, key: str, data: bytes) -> None:
        """Store a blob under a key."""
        storage = self._storage
        with storage.lock:
            storage.blobs[key] = bytes(data)

    async def get_blob(self, key: str) -> bytes | None:
        """Return a blob, or None when it is not there."""
        storage = self._storage
        with storage.lock:
            return storage.blobs.get(key)

    async def delete_blob(self, key: str) -> None:
        """Forget a blob; nothing happens when there is none."""
        storage = self._storage
        with storage.lock:
            storage.blobs.pop(key, None)
