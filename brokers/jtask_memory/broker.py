"""The broker contract inside one process."""

import asyncio
from collections.abc import Callable, Sequence

from jtask.contract import Delivery, FullBroker, Message
from jtask_memory.body_size import INLINE_LIMIT, check_size
from jtask_memory.queues.consumption import MemoryConsumption
from jtask_memory.queues.queue_states import MemoryQueues
from jtask_memory.storage import Storage, canonical, storage_of
from jtask_memory.stores.blobs import MemoryBlobs
from jtask_memory.stores.control import MemoryControl
from jtask_memory.stores.coordinator import MemoryCoordinator
from jtask_memory.stores.dead_letters import MemoryDeadLetters
from jtask_memory.stores.event_log import MemoryEventLog
from jtask_memory.stores.presence import MemoryPresence
from jtask_memory.stores.records import MemoryRecords
from jtask_memory.stores.results import MemoryResults


async def open_broker(url: str, client: str, loop: asyncio.AbstractEventLoop) -> FullBroker:
    """Open a client of what `memory://name` names in this process.

    Args:
        url: `memory://`, with a name to keep several apart.
        client: This process's client id; whoever watches names it again.
        loop: The loop on which the broker is used.
    """
    del client
    return MemoryBroker(canonical(url), storage_of(url), loop)


class MemoryBroker(
    MemoryResults,
    MemoryEventLog,
    MemoryDeadLetters,
    MemoryCoordinator,
    MemoryPresence,
    MemoryBlobs,
    MemoryControl,
    MemoryRecords,
    MemoryQueues,
):
    """One client of a storage: the whole contract, and `ThreadEnqueue`.

    Args:
        url: What the storage is called.
        storage: What is stored; shared with other clients.
        loop: The loop on which this client is used.
    """

    def __init__(self, url: str, storage: Storage, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(url, storage, loop)
        self._consumptions: list[MemoryConsumption] = []

    @property
    def url(self) -> str:
        """Where it is."""
        return self._url

    @property
    def inline_limit(self) -> int:
        """The largest body that `enqueue` and `put` take, in bytes."""
        return INLINE_LIMIT

    async def enqueue(self, messages: Sequence[Message]) -> None:
        """Store messages, all or none, however many."""
        self._enqueue(messages)

    def enqueue_from_thread(self, message: Message) -> None:
        """Do `enqueue([message])` from any thread."""
        self._enqueue([message])

    async def consume(
        self, queues: Sequence[str], credit: int, receive: Callable[[Delivery], None]
    ) -> MemoryConsumption:
        """Deliver runs of some queues, highest priority first, until stopped."""
        consumption = MemoryConsumption(self._storage, queues, credit, receive, self._loop)
        self._consumptions.append(consumption)
        return consumption

    async def cancel(self, run_id: str) -> bool:
        """Take a waiting or delayed run off its queue; False when none is waiting."""
        storage = self._storage
        with storage.lock:
            return storage.backlog.cancel(run_id)

    async def depth(self, queue: str) -> int:
        """Count the runs of a queue that wait or are being executed."""
        storage = self._storage
        with storage.lock:
            return storage.backlog.depth(queue, self._now())

    async def close(self) -> None:
        """End this client: its consumptions are closed, what is stored stays."""
        # First, so that nothing begins while the others end.
        self._is_closed = True
        for consumption in self._consumptions:
            await consumption.close()
        await self._end_watching()
        self._end_following()
        await self._end_listening()

    def _enqueue(self, messages: Sequence[Message]) -> None:
        storage = self._storage
        # All are checked before the first is stored: all or none.
        for message in messages:
            check_size("run", message.run_id, message.body)
        storage.enqueue(messages)

    def __repr__(self) -> str:
        return f"<MemoryBroker {self._url}{', closed' if self._is_closed else ''}>"
