"""Blobs: what is too big for a message."""

import math

from jtask_memory.storage.client import StoragePart


class MemoryBlobs(StoragePart):
    """The contract's `BlobStore`."""

    async def put(self, key: str, data: bytes, *, ttl: float | None = None) -> None:
        """Store a blob under a key."""
        storage, now = self._storage, self._now()
        with storage.lock:
            # A copy: the caller's may be a bytearray that it keeps writing to.
            storage.blobs.put(key, bytes(data), now, math.inf if ttl is None else now + ttl)

    async def get(self, key: str, *, at_most: int | None = None) -> bytes | None:
        """Return a blob, or None when it is not there or larger."""
        storage = self._storage
        with storage.lock:
            blob = storage.blobs.get(key, self._now())
        is_larger = blob is not None and at_most is not None and len(blob) > at_most
        return None if is_larger else blob

    async def delete(self, key: str) -> None:
        """Delete a blob; nothing happens when there is none."""
        storage = self._storage
        with storage.lock:
            storage.blobs.pop(key, self._now())
