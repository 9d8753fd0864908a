"""Counters, and slots of a name under a lease."""

import math

from jtask.contract import SlotHolder
from jtask_memory.storage.client import StoragePart
from jtask_memory.storage.ttl_dict import TTLDict


class MemoryCounters(StoragePart):
    """The contract's `Counters`."""

    async def add(self, key: str, amount: int = 1, *, ttl: float | None = None) -> int:
        """Add to a counter and return its new value."""
        storage = self._storage
        with storage.lock:
            now = self._now()
            value = (storage.counters.get(key, now) or 0) + amount
            storage.counters.put(key, value, now, math.inf if ttl is None else now + ttl)
        return value

    async def delete(self, key: str) -> None:
        """Delete a counter; nothing happens when there is none."""
        storage = self._storage
        with storage.lock:
            storage.counters.pop(key, self._now())


class MemorySlots(StoragePart):
    """The contract's `Slots`."""

    async def acquire(
        self, name: str, holder: str, limit: int, lease: float, *, token: str | None = None
    ) -> str | None:
        """Take, take over or renew one of `limit` slots of a name for `lease` seconds."""
        storage = self._storage
        with storage.lock:
            now = self._now()
            slots = storage.slots.setdefault(name, TTLDict())
            if token is None or slots.pop(token, now) is None:
                taken = slots.items(now)
                # Who holds a slot may renew it, even where the limit has been lowered since.
                own = next((known for known, slot in taken if slot.holder == holder), None)
                if own is not None:
                    slots.pop(own, now)
                elif len(taken) >= limit:
                    return None
            new = str(next(storage.revisions))
            slots.put(new, SlotHolder(holder, now + lease), now, now + lease)
        return new

    async def release(self, name: str, token: str) -> None:
        """Free a slot; nothing happens when the token is valid no more."""
        storage = self._storage
        with storage.lock:
            if (slots := storage.slots.get(name)) is not None:
                slots.pop(token, self._now())

    async def holders(self, name: str) -> list[SlotHolder]:
        """Return who has a slot of a name."""
        storage = self._storage
        with storage.lock:
            slots = storage.slots.get(name)
            return [] if slots is None else [one for _, one in slots.items(self._now())]
