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

    async def get(self, key: str, *, at_most: int | None = None) -> bytes | None:
        """Return a blob, or None when it is not there or larger."""
        storage = self._storage
        with storage.lock:
            blob = storage.blobs.get(key)
        is_larger = blob is not None and at_most is not None and len(blob) > at_most
        return None if is_larger else blob

    async def delete(self, key: str) -> None:
        """Delete a blob; nothing happens when there is none."""
        storage = self._storage
        with storage.lock:
            storage.blobs.pop(key, None)
