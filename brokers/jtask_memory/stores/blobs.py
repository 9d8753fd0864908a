"""Blobs: what is too big for a message."""

from jtask_memory.storage.client import StoragePart


class MemoryBlobs(StoragePart):
    """The contract's `BlobStore`."""

    async def put(self, key: str, data: bytes) -> None:
        """Store a blob under a key."""
        storage = self._storage
        with storage.lock:
            # A copy: the caller's may be a bytearray that it keeps writing to.
            storage.blobs[key] = bytes(data)

    async def get(self, key: str) -> bytes | None:
        """Return a blob, or None when it is not there."""
        storage = self._storage
        with storage.lock:
            return storage.blobs.get(key)

    async def delete(self, key: str) -> None:
        """Delete a blob; nothing happens when there is none."""
        storage = self._storage
        with storage.lock:
            storage.blobs.pop(key, None)
