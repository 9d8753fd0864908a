"""Small values under keys, in named buckets."""

import math

from jtask.contract import Record
from jtask_memory.storage.client import StoragePart
from jtask_memory.storage.ttl_dict import TTLDict


class MemoryRecords(StoragePart):
    """The contract's `KeyValueStore`."""

    async def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        revision: int | None = None,
        ttl: float | None = None,
    ) -> bool:
        """Store a value, if a revision is given only over that one."""
        storage = self._storage
        with storage.lock:
            now = storage.clock.time()
            records = storage.records.setdefault(bucket, TTLDict())
            found = records.get(key, now)
            if revision is not None and revision != (0 if found is None else found.revision):
                return False
            # Counted over all records: one that is deleted and put again gets another revision.
            record = Record(key, bytes(body), next(storage.revisions))
            records.put(key, record, now, math.inf if ttl is None else now + max(ttl, 1.0))
        return True

    async def get(self, bucket: str, key: str) -> Record | None:
        """Return a record, or None when there is none."""
        storage = self._storage
        with storage.lock:
            records = storage.records.get(bucket)
            return None if records is None else records.get(key, storage.clock.time())

    async def list(self, bucket: str) -> list[Record]:
        """Return a bucket's records, by key."""
        storage = self._storage
        with storage.lock:
            records = storage.records.get(bucket)
            found = (
                [] if records is None else [one for _, one in records.items(storage.clock.time())]
            )
        return sorted(found, key=lambda record: record.key)

    async def delete(self, bucket: str, key: str, *, revision: int | None = None) -> bool:
        """Delete a record, if a revision is given only that one; False when it is not there."""
        storage = self._storage
        with storage.lock:
            now = storage.clock.time()
            records = storage.records.get(bucket, TTLDict())
            found = records.get(key, now)
            if found is None or revision not in (None, found.revision):
                return False
            records.pop(key, now)
        return True
