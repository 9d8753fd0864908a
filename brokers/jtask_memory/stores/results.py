"""Outcomes: the first one of a run is kept, and pushed to whoever watches."""

import asyncio
from collections.abc import Awaitable, Callable
from weakref import WeakSet

from jtask.contract import OutcomeRecord
from jtask_memory.body_size import check_size
from jtask_memory.loops import call_on
from jtask_memory.storage import Storage
from jtask_memory.storage.client import StorageClient, StoragePart


class MemoryResults(StoragePart):
    """The contract's `ResultStore`."""

    def __init__(self, client: StorageClient) -> None:
        super().__init__(client)
        # Weak: a subscription may be closed, or dropped, long before the client is.
        self._subscriptions: WeakSet[MemorySubscription] = WeakSet()

    def put(self, outcome: OutcomeRecord) -> Awaitable[bool]:
        """Store the first outcome of a run; it is stored when this returns."""
        stored: asyncio.Future[bool] = self._client.loop.create_future()
        check_size("the outcome of run", outcome.run_id, outcome.body)
        # At once, and by future only because a broker across a network needs one.
        stored.set_result(self._storage.put_first(outcome))
        return stored

    async def get(self, run_id: str) -> OutcomeRecord | None:
        """Return a run's outcome, or None when there is none yet or no more."""
        storage = self._storage
        with storage.lock:
            body = storage.outcomes.get(run_id, self._now())
        return None if body is None else OutcomeRecord(run_id, body)

    async def watch(
        self,
        target: str,
        deliver: Callable[[OutcomeRecord], None],
        on_gap: Callable[[], None],
    ) -> "MemorySubscription":
        """Push the outcomes of a run or of a client; none is ever missed, so there is no gap."""
        del on_gap
        subscription = MemorySubscription(self._storage, target, deliver, self._client.loop)
        self._subscriptions.add(subscription)
        return subscription

    async def close(self) -> None:
        """Push nothing any more."""
        for subscription in list(self._subscriptions):
            await subscription.close()


class MemorySubscription:
    """Passes outcomes on until closed.

    Args:
        storage: Where they are stored.
        target: Id of a run or of a client.
        deliver: Called with each outcome, on the loop.
        loop: Of the client.
    """

    def __init__(
        self,
        storage: Storage,
        target: str,
        deliver: Callable[[OutcomeRecord], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._storage = storage
        self._target = target
        self._deliver = deliver
        self._loop = loop
        self._is_closed = False
        with storage.lock:
            storage.watchers.add(target, self._notify)

    async def close(self) -> None:
        """Pass nothing on any more."""
        self._is_closed = True
        self._forget()

    def _notify(self, outcome: OutcomeRecord) -> None:
        # Called by whoever stored it, on any thread.
        if not call_on(self._loop, self._push, outcome):
            self._forget()

    def _push(self, outcome: OutcomeRecord) -> None:
        # May have been closed while this was on its way to the loop.
        if not self._is_closed:
            self._deliver(outcome)

    def _forget(self) -> None:
        with self._storage.lock:
            self._storage.watchers.remove(self._target, self._notify)
