"""What is kept beside runs: blobs, dead letters, records."""

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol


class BlobStore(Protocol):
    """Keep what is too big for a message."""

    async def put_blob(self, key: str, data: bytes) -> None:
        """Store a blob under a key (a run id, a dot, a word); readable on return."""
        ...

    async def get_blob(self, key: str) -> bytes | None:
        """Return a blob, or None when it is not there."""
        ...

    async def delete_blob(self, key: str) -> None:
        """Forget a blob; nothing happens when there is none."""
        ...


class DeadLetter(NamedTuple):
    """A run that will not be executed any more, kept with everything known of it."""

    run_id: str
    queue: str
    reason: str
    at: float
    body: bytes


class DeadLetters(Protocol):
    """Look through what was dead-lettered."""

    def letters(self) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters, oldest first."""
        ...

    async def drop_letter(self, run_id: str) -> bool:
        """Forget one dead letter; False when there is none."""
        ...


class Record(NamedTuple):
    """A small value kept under a key.

    Attributes:
        revision: Grows with each change of the record.
    """

    key: str
    body: bytes
    revision: int


class Records(Protocol):
    """Keep small values that outlive every process, in named buckets."""

    async def put_record(
        self, bucket: str, key: str, body: bytes, *, revision: int | None = None
    ) -> bool:
        """Store a value.

        Args:
            bucket: Letters, digits, `_` and `-`; comes into being by being named.
            key: Any text of up to 200 characters.
            body: The value.
            revision: Store only while the record is at this revision, 0 for "not there";
                None stores in any case.

        Returns:
            bool: Whether it was stored.
        """
        ...

    async def get_record(self, bucket: str, key: str) -> Record | None:
        """Return a record, or None when there is none."""
        ...

    async def records(self, bucket: str) -> list[Record]:
        """Return a bucket's records, by key."""
        ...

    async def delete_record(self, bucket: str, key: str) -> bool:
        """Forget a record; False when there was none."""
        ...
