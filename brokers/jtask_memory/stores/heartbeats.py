"""Which workers live."""

from jtask_memory.storage.client import StoragePart


class MemoryHeartbeats(StoragePart):
    """The contract's `Heartbeats`."""

    async def beat(self, worker: str, info: bytes, ttl: float) -> None:
        """Say that a worker lives."""
        storage = self._storage
        with storage.lock:
            now = self._now()
            storage.workers.put(worker, info, now, now + ttl)

    async def living(self) -> list[tuple[str, bytes]]:
        """List the living workers and what they said of themselves."""
        storage = self._storage
        with storage.lock:
            return storage.workers.items(self._now())
