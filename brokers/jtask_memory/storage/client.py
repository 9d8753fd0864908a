"""What every part of a memory broker has: its storage, its loop, and whether it is closed."""

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
        self._url = url
        self._raw_storage = storage
        self._loop = loop
        self._is_closed = False

    @property
    def _storage(self) -> Storage:
        if self._is_closed:
            raise BrokerUnavailable(f"this client of {self._url} is closed; open another one")
        return self._raw_storage

    def _now(self) -> float:
        return self._raw_storage.clock.time()
