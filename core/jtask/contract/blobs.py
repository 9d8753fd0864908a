"""What is too big for a message."""

from typing import Protocol


class BlobStore(Protocol):
    """Keep large values under a key (a run id, a dot, a word)."""

    async def put(self, key: str, data: bytes) -> None:
        """Store a blob; readable on return. A second put of the same key replaces the first.

        Args:
            key: A run id, a dot, a word.
            data: Of any size.
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
