"""Requests to whoever listens in this process."""

import asyncio
from collections.abc import Callable
from weakref import WeakSet

from jtask_memory.storage import Storage
from jtask_memory.storage.client import StorageClient, StoragePart
from jtask_memory.storage.requests import PendingRequest


class MemoryRequests(StoragePart):
    """The contract's `RequestReply`."""

    def __init__(self, client: StorageClient) -> None:
        super().__init__(client)
        self._responders: WeakSet[MemoryResponder] = WeakSet()

    async def listen(
        self,
        topic: str,
        answer: Callable[[bytes], bytes | None],
        on_gap: Callable[[], None] | None = None,
    ) -> "MemoryResponder":
        """Answer the requests of a topic."""
        del on_gap  # none can be missed
        responder = MemoryResponder(self._storage, topic, answer, self._client.loop)
        self._responders.add(responder)
        return responder

    async def ask(
        self, topic: str, question: bytes, *, timeout: float, answers: int | None = None
    ) -> list[bytes]:
        """Ask everybody who listens; returns once all have answered or kept silent."""
        storage = self._storage
        with storage.lock:
            responders = storage.responders.of([topic])
        if not responders:
            return []
        request = PendingRequest(question, len(responders), answers, self._client.loop)
        # Without the lock: a responder may answer from its own thread at once.
        for responder in responders:
            responder(request)
        return await request.answers(timeout)

    async def close(self) -> None:
        """Answer nothing any more."""
        for responder in list(self._responders):
            await responder.close()


class MemoryResponder:
    """Answers the requests of one topic until closed.

    Args:
        storage: Where requests come from.
        topic: Of the requests.
        answer: Called with each, on the loop; None is silence.
        loop: Of the client.
    """

    def __init__(
        self,
        storage: Storage,
        topic: str,
        answer: Callable[[bytes], bytes | None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._storage = storage
        self._topic = topic
        self._answer = answer
        self._loop = loop
        self._is_closed = False
        with storage.lock:
            storage.responders.add(topic, self._on_request)

    async def close(self) -> None:
        """Answer no more."""
        self._is_closed = True
        with self._storage.lock:
            self._storage.responders.remove(self._topic, self._on_request)

    def _on_request(self, request: PendingRequest) -> None:
        request.put_to(self._reply, self._loop)

    def _reply(self, body: bytes) -> bytes | None:
        # May have been closed while the request was on its way to the loop.
        return None if self._is_closed else self._answer(body)
