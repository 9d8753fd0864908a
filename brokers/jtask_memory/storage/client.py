"""What the parts of one memory broker share: its storage, its loop, and an end."""

import asyncio

from jtask.errors import BrokerUnavailable
from jtask_memory.storage.storage import Storage


class StorageClient:
    """One client of a storage; several, on several loops and threads, may share it.

    Args:
        url: What the storage is called.
        storage: Where everything is stored.
        loop: The loop on which this client is used.
    """

    def __init__(self, url: str, storage: Storage, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self.raw_storage = storage
        self.loop = loop
        self.is_closed = False

    @property
    def storage(self) -> Storage:
        """The storage, while this client is open.

        Raises:
            BrokerUnavailable: It is closed.
        """
        if self.is_closed:
            raise BrokerUnavailable(f"this client of {self.url} is closed; open a new one")
        return self.raw_storage

    def now(self) -> float:
        """Return the present instant, seconds since the epoch."""
        return self.raw_storage.clock.time()


class StoragePart:
    """A part of the contract; each works on the client's storage under the storage's lock."""

    def __init__(self, client: StorageClient) -> None:
        self._client = client

    @property
    def _storage(self) -> Storage:
        return self._client.storage

    def _now(self) -> float:
        return self._client.now()
