"""Runs that will not be executed any more."""

from collections.abc import AsyncIterator

from jtask.contract import DeadLetter
from jtask_memory.storage.client import StoragePart


class MemoryDeadLetters(StoragePart):
    """The contract's `DeadLetters`."""

    async def read(self) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters, oldest first."""
        storage = self._storage
        with storage.lock:
            letters = storage.letters.items(self._now())
        for _, letter in letters:
            yield letter

    async def get(self, run_id: str) -> DeadLetter | None:
        """Return the dead letter of one run, or None when there is none."""
        storage = self._storage
        with storage.lock:
            return storage.letters.get(run_id, self._now())

    async def drop(self, run_id: str) -> bool:
        """Delete one dead letter; False when there is none."""
        storage = self._storage
        with storage.lock:
            return storage.letters.pop(run_id, self._now()) is not None
