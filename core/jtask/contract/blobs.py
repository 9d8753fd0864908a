"""What is too big for a message."""

from typing import Protocol

BLOB_MARGIN = 3600.0
"""Seconds by which a blob outlives what names it, which is stored after it and by another clock."""


class BlobStore(Protocol):
    """Keep large values under a key (a run id, a dot, a word)."""

    async def put(self, key: str, data: bytes, *, ttl: float | None = None) -> None:
        """Store a blob; readable on return. A second put of the same key replaces the first.

        While the same data are put again, and when that is broken off, they stay readable.

        Args:
            key: A run id, a dot, a word.
            data: Of any size.
            ttl: Seconds for which it is kept; None keeps it until it is deleted.
        """
        ...

    async def get(self, key: str, *, at_most: int | None = None) -> bytes | None:
        """Return a blob, or None when it is not there.

        Args:
            key: A run id, a dot, a word.
            at_most: How many bytes are expected. A larger blob is as good as none, and is not read
                to its end.
        """
        ...

    async def delete(self, key: str) -> None:
        """Delete a blob; nothing happens when there is none."""
        ...
