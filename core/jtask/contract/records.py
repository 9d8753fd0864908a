"""Small values that outlive every process."""

from typing import NamedTuple, Protocol


class Record(NamedTuple):
    """A small value kept under a key.

    Attributes:
        key: The key.
        body: The value.
        revision: Grows with each change of the record.
    """

    key: str
    body: bytes
    revision: int


class KeyValueStore(Protocol):
    """Keep small values in named buckets, with revisions for optimistic locking."""

    async def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        revision: int | None = None,
        ttl: float | None = None,
    ) -> bool:
        """Store a value.

        Args:
            bucket: Letters, digits, `_` and `-`; comes into being by being named.
            key: Any text of up to 200 characters.
            body: The value.
            revision: Store only while the record is at this revision, 0 for "not there";
                None stores in any case.
            ttl: Seconds after which the record is deleted, at least 1; None keeps it until it is
                deleted or replaced.

        Returns:
            bool: Whether it was stored.
        """
        ...

    async def get(self, bucket: str, key: str) -> Record | None:
        """Return a record, or None when there is none."""
        ...

    async def list(self, bucket: str) -> list[Record]:
        """Return a bucket's records, by key."""
        ...

    async def delete(self, bucket: str, key: str, *, revision: int | None = None) -> bool:
        """Delete a record.

        Args:
            bucket: Where.
            key: Under which.
            revision: Delete it only while it is at this revision; None deletes it in any case.

        Returns:
            bool: Whether there was one, at that revision.
        """
        ...
