"""Small values under keys, in named buckets."""

from jtask.contract import Record
from jtask_memory.storage.client import StoragePart


class MemoryRecords(StoragePart):
    """The contract's `KeyValueStore`."""

    async def put(self, bucket: str, key: str, body: bytes, *, revision: int | None = None) -> bool:
        """Store a value, if a revision is given only over that one."""
        storage = self._storage
        with storage.lock:
            records = storage.records.setdefault(bucket, {})
            found = records.get(key)
            if revision is not None and revision != (0 if found is None else found.revision):
                return False
            # Counted over all records: one that is deleted and put again gets another revision.
            records[key] = Record(key, bytes(body), next(storage.revisions))
        return True

    async def get(self, bucket: str, key: str) -> Record | None:
        """Return a record, or None when there is none."""
        storage = self._storage
        with storage.lock:
            return storage.records.get(bucket, {}).get(key)

    async def list(self, bucket: str) -> list[Record]:
        """Return a bucket's records, by key."""
        storage = self._storage
        with storage.lock:
            return sorted(storage.records.get(bucket, {}).values(), key=lambda record: record.key)

    async def delete(self, bucket: str, key: str) -> bool:
        """Delete a record; False when there was none."""
        storage = self._storage
        with storage.lock:
            return storage.records.get(bucket, {}).pop(key, None) is not None
