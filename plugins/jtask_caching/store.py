"""Values under keys, kept with the broker."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jtask.contract import Broker
from jtask.wire.fields import known_fields

BUCKET = "cache"
_LONGEST_NAME = 190  # characters, of a slot
_INLINE = 16_384  # bytes of a value that stays in the record, which a list of the cache reads


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept under a key.

    Attributes:
        key: The key.
        task: The name of the task that computed the value.
        run_id: The run that did.
        at: When, seconds since the epoch.
        expires: When it ends; None when it does not.
        serializer: How the value is written.
        size: Of the value, in bytes.
        payload: The value; None for one that lies apart.
    """

    key: str
    task: str
    run_id: str
    at: float
    expires: float | None
    serializer: str
    size: int
    payload: bytes | None = None

    def encode(self) -> bytes:
        """Return the record's body."""
        head = {
            "key": self.key,
            "task": self.task,
            "run_id": self.run_id,
            "at": self.at,
            "expires": self.expires,
            "serializer": self.serializer,
            "size": self.size,
            "apart": self.payload is None,
        }
        return b"%b\n%b" % (json.dumps(head).encode(), self.payload or b"")

    @classmethod
    def decode(cls, body: bytes) -> "Entry | None":
        """Return what a record holds; None when it cannot be read."""
        line, _, payload = body.partition(b"\n")
        head: Mapping[str, Any] = known_fields(line)
        try:
            is_apart = bool(head["apart"])
            return cls(
                str(head["key"]),
                str(head["task"]),
                str(head["run_id"]),
                float(head["at"]),
                None if head["expires"] is None else float(head["expires"]),
                str(head["serializer"]),
                int(head["size"]),
                None if is_apart else payload,
            )
        except (ValueError, TypeError, KeyError, OverflowError):
            return None


class Cache:
    """The cache of a namespace; on the I/O loop.

    Args:
        broker: Where it is.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def get(self, key: str) -> Entry | None:
        """Return what is kept under a key, with its value; None when there is none or no more."""
        record = await self._broker.records.get(BUCKET, record_key(key))
        entry = None if record is None else Entry.decode(record.body)
        if entry is None or entry.key != key:
            return None
        if entry.expires is not None and entry.expires <= time.time():
            return None
        if entry.payload is not None:
            return entry
        payload = await self._broker.blobs.get(_blob_key(key), at_most=entry.size)
        if payload is None or len(payload) != entry.size:
            return None  # it is just being replaced
        return replace(entry, payload=payload)

    async def put(self, entry: Entry) -> None:
        """Keep a value; the last one under a key counts."""
        ttl = None if entry.expires is None else max(1.0, entry.expires - time.time())
        payload = entry.payload or b""
        if len(payload) > _INLINE:
            # Before the record that refers to it.
            await self._broker.blobs.put(_blob_key(entry.key), payload, ttl=ttl)
            entry = replace(entry, payload=None)
        await self._broker.records.put(BUCKET, record_key(entry.key), entry.encode(), ttl=ttl)

    async def entries(self) -> list[Entry]:
        """Return all that is kept, oldest first; values that lie apart are left out."""
        found = [Entry.decode(one.body) for one in await self._broker.records.list(BUCKET)]
        return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.at)

    async def delete(self, key: str) -> bool:
        """Forget what is kept under a key; False when there is nothing."""
        was_there = await self._broker.records.delete(BUCKET, record_key(key))
        await self._broker.blobs.delete(_blob_key(key))
        return was_there


def record_key(key: str) -> str:
    """Return what a key of any text and length is stored under."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def lock_name(key: str) -> str:
    """Return what the lock of a key is called, and what waits for it is parked under."""
    return f"cache-{key}" if len(key) <= _LONGEST_NAME else _blob_key(key)


def _blob_key(key: str) -> str:
    return f"cache-{record_key(key)}"
