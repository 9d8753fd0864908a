"""Runs on their way to a queue."""

from collections.abc import Callable, Sequence

from jtask.contract import Delivery, Message, check_message
from jtask_memory.body_size import check_size
from jtask_memory.queues.consumption import MemoryConsumption
from jtask_memory.storage.client import StorageClient, StoragePart


class MemoryRuns(StoragePart):
    """The contract's `RunQueue`."""

    def __init__(self, client: StorageClient) -> None:
        super().__init__(client)
        self._consumptions: set[MemoryConsumption] = set()

    async def enqueue(self, messages: Sequence[Message]) -> None:
        """Store messages, all or none, however many."""
        self._enqueue(messages)

    def enqueue_from_thread(self, message: Message) -> None:
        """Do `enqueue([message])` from any thread."""
        self._enqueue([message])

    async def replace(self, message: Message) -> bool:
        """Put another message in the place of a delayed run that no worker has had yet."""
        check_message(message)
        check_size("run", message.run_id, message.body)
        storage = self._storage
        with storage.lock:
            is_replaced = storage.backlog.replace(message, storage.clock.time())
        storage.wake([message.queue])
        return is_replaced

    async def consume(
        self, queues: Sequence[str], credit: int, receive: Callable[[Delivery], None]
    ) -> MemoryConsumption:
        """Deliver runs of some queues, highest priority first, until stopped."""
        loop = self._client.loop
        forget = self._consumptions.discard
        consumption = MemoryConsumption(self._storage, queues, credit, receive, loop, forget)
        self._consumptions.add(consumption)
        return consumption

    async def wake(
        self, key: str, count: int = 1, *, tokens: Sequence[str] = (), first: bool = True
    ) -> int:
        """Queue parked runs at once, those that were parked first; return how many."""
        storage = self._storage
        with storage.lock:
            queues = storage.backlog.wake(key, count, tokens, storage.clock.time(), first=first)
        storage.wake(set(queues))
        return len(queues)

    async def parked(self, key: str) -> int:
        """Count the runs that are parked under a key."""
        storage = self._storage
        with storage.lock:
            return storage.backlog.parked(key)

    async def parked_keys(self, prefix: str) -> set[str]:
        """Return the keys that begin so and that runs are parked under."""
        storage = self._storage
        with storage.lock:
            return storage.backlog.parked_keys(prefix)

    async def cancel(self, run_id: str) -> bool:
        """Take a waiting or delayed run off its queue; False when none is waiting."""
        storage = self._storage
        with storage.lock:
            return storage.backlog.cancel(run_id)

    async def close(self) -> None:
        """Close all consumptions."""
        for consumption in list(self._consumptions):
            await consumption.close()

    def _enqueue(self, messages: Sequence[Message]) -> None:
        storage = self._storage
        # All are checked before the first is stored: all or none.
        for message in messages:
            check_message(message)
            check_size("run", message.run_id, message.body)
        storage.enqueue(messages)
