"""What processes agree on, here threads: counters, slots, who lives; and their blobs."""

from jtask_memory.client import SpaceClient
from jtask_memory.expiring import Expiring


class MemoryCoordination(SpaceClient):
    """The contract's `Coordinator`, `Presence` and `BlobStore`."""

    async def add(self, key: str, amount: int = 1) -> int:
        """Add to a counter and return its new value."""
        space = self._space
        with space.lock:
            space.counters[key] = value = space.counters.get(key, 0) + amount
        return value

    async def acquire(self, name: str, holder: str, limit: int, lease: float) -> bool:
        """Take or renew one of `limit` slots of a name for `lease` seconds."""
        space = self._space
        with space.lock:
            now = self._now()
            slots = space.slots.setdefault(name, Expiring())
            if slots.get(holder, now) is None and len(slots.items(now)) >= limit:
                return False
            slots.put(holder, holder, now, now + lease)
        return True

    async def release(self, name: str, holder: str) -> None:
        """Give a slot back; nothing happens when the holder has none."""
        space = self._space
        with space.lock:
            if (slots := space.slots.get(name)) is not None:
                slots.pop(holder, self._now())

    async def announce(self, worker: str, info: bytes, ttl: float) -> None:
        """Say that a worker lives."""
        space = self._space
        with space.lock:
            now = self._now()
            space.workers.put(worker, info, now, now + ttl)

    async def workers(self) -> list[tuple[str, bytes]]:
        """List the living workers and what they said of themselves."""
        space = self._space
        with space.lock:
            return space.workers.items(self._now())

    async def put_blob(self, key: str, data: bytes) -> None:
        """Store a blob under a key."""
        space = self._space
        with space.lock:
            space.blobs[key] = bytes(data)

    async def get_blob(self, key: str) -> bytes | None:
        """Return a blob, or None when it is not there."""
        space = self._space
        with space.lock:
            return space.blobs.get(key)

    async def delete_blob(self, key: str) -> None:
        """Forget a blob; nothing happens when there is none."""
        space = self._space
        with space.lock:
            space.blobs.pop(key, None)
