"""Runs that will not be executed any more."""

from collections.abc import AsyncIterator

from jtask.contract import DeadLetter
from jtask_memory.storage.client import StorageClient


class MemoryDeadLetters(StorageClient):
    """The contract's `DeadLetters`."""

    async def letters(self) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters, oldest first."""
        storage = self._storage
        with storage.lock:
            letters = storage.letters.items(self._now())
        for _, letter in letters:
            yield letter

    async def drop_letter(self, run_id: str) -> bool:
        """Forget one dead letter; False when there is none."""
        storage = self._storage
        with storage.lock:
            return storage.letters.pop(run_id, self._now()) is not None
