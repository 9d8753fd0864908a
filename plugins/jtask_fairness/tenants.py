"""Which tenants have runs parked for a queue: a record for each."""

import json

from jtask.argument_keys import storable
from jtask.contract import Broker
from jtask.wire.fields import known_fields

PATIENCE = 3600.0
"""Seconds until a parked run comes by itself, should everybody have forgotten it."""
_LONGEST = 150  # characters of a tenant that stay readable


class Tenants:
    """The tenants of a queue; on the I/O loop.

    Args:
        broker: Where their runs are.
        queue: The queue.
    """

    def __init__(self, broker: Broker, queue: str) -> None:
        self._broker = broker
        self._queue = queue
        self._bucket = f"fair-{queue}"

    def key(self, tenant: str) -> str:
        """Return what runs of a tenant are parked under."""
        return f"fair-{self._queue[:40]}-{storable(self._queue + ':' + tenant, _LONGEST)}"

    async def arrive(self, tenant: str) -> bool:
        """Note that a tenant has runs; False when it is known."""
        body = json.dumps({"tenant": tenant}).encode()
        return await self._broker.records.put(
            self._bucket, storable(tenant, _LONGEST), body, revision=0
        )

    async def is_known(self, tenant: str) -> bool:
        """Tell whether a tenant is noted."""
        return await self._broker.records.get(self._bucket, storable(tenant, _LONGEST)) is not None

    async def list(self) -> list[str]:
        """Return the tenants that are noted."""
        found = [known_fields(one.body) for one in await self._broker.records.list(self._bucket)]
        return [one["tenant"] for one in found if isinstance(one.get("tenant"), str)]

    async def leave(self, tenant: str) -> bool:
        """Forget a tenant that has no run parked; False when it has one after all."""
        records = self._broker.records
        record = await records.get(self._bucket, storable(tenant, _LONGEST))
        if record is not None:
            await records.delete(self._bucket, record.key, revision=record.revision)
        # Somebody may have seen the record, and parked a run, before it was gone.
        if await self._broker.runs.parked(self.key(tenant)) == 0:
            return True
        await self.arrive(tenant)
        return False

    async def wake(self, tenant: str, count: int = 1) -> int:
        """Put parked runs of a tenant on their queue, behind what is there; return how many."""
        return await self._broker.runs.wake(self.key(tenant), count, first=False)

    async def on_queue(self) -> int:
        """Count the runs that wait on the queue itself, or are executed."""
        return await self._broker.queues.depth(self._queue)
