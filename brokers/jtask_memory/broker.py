"""The broker contract inside one process: each part works on one storage."""

import asyncio

from jtask.contract import Broker, in_process
from jtask_memory.body_size import INLINE_LIMIT
from jtask_memory.queues.queues import MemoryQueues
from jtask_memory.queues.runs import MemoryRuns
from jtask_memory.storage import Storage, canonical, storage_of
from jtask_memory.storage.client import StorageClient
from jtask_memory.stores.blobs import MemoryBlobs
from jtask_memory.stores.counters import MemoryCounters, MemorySlots
from jtask_memory.stores.dead_letters import MemoryDeadLetters
from jtask_memory.stores.event_log import MemoryEventLog
from jtask_memory.stores.heartbeats import MemoryHeartbeats
from jtask_memory.stores.logs import MemoryItems, MemoryLogs
from jtask_memory.stores.records import MemoryRecords
from jtask_memory.stores.requests import MemoryRequests
from jtask_memory.stores.results import MemoryResults


@in_process
async def open_broker(url: str, client: str, loop: asyncio.AbstractEventLoop) -> Broker:
    """Open a client of what `memory://name` names in this process.

    Args:
        url: `memory://`, with a name to keep several apart.
        client: This process's client id; whoever watches names it again.
        loop: The loop on which the broker is used.
    """
    del client
    return MemoryBroker(canonical(url), storage_of(url), loop)


class MemoryBroker:
    """One client of a storage: a `jtask.contract.Broker`.

    Args:
        url: What the storage is called.
        storage: Where everything is stored.
        loop: The loop on which the broker is used.
    """

    inline_limit = INLINE_LIMIT

    def __init__(self, url: str, storage: Storage, loop: asyncio.AbstractEventLoop) -> None:
        client = StorageClient(url, storage, loop)
        self._client = client
        self.url = url
        self.runs = MemoryRuns(client)
        self.queues = MemoryQueues(client)
        self.results = MemoryResults(client)
        self.events = MemoryEventLog(client)
        self.logs = MemoryLogs(client)
        self.items = MemoryItems(client)
        self.blobs = MemoryBlobs(client)
        self.counters = MemoryCounters(client)
        self.slots = MemorySlots(client)
        self.dead_letters = MemoryDeadLetters(client)
        self.heartbeats = MemoryHeartbeats(client)
        self.requests = MemoryRequests(client)
        self.records = MemoryRecords(client)

    async def close(self) -> None:
        """End this client: its consumptions are closed, what is stored stays."""
        # First, so that nothing begins while the others end.
        self._client.is_closed = True
        await self.runs.close()
        await self.results.close()
        await self.requests.close()

    def __repr__(self) -> str:
        return f"<MemoryBroker {self.url}{', closed' if self._client.is_closed else ''}>"
