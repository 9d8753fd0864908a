"""Runs that will not be executed any more."""

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol


class DeadLetter(NamedTuple):
    """A run that will not be executed any more, kept with everything known of it.

    Attributes:
        run_id: The run.
        queue: Where it came from.
        reason: Why it is dead, one sentence.
        at: When it was dead-lettered, seconds since the epoch.
        body: The record that docs/wire-format.md calls a dead letter.
    """

    run_id: str
    queue: str
    reason: str
    at: float
    body: bytes


class DeadLetters(Protocol):
    """Read and delete what was dead-lettered; `Delivery.dead_letter` writes it.

    Each is kept for the time of the setting `dead_letter_ttl`.
    """

    def read(self) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters, oldest first."""
        ...

    async def get(self, run_id: str) -> DeadLetter | None:
        """Return the dead letter of one run without reading the others; None when there is none."""
        ...

    async def drop(self, run_id: str) -> bool:
        """Delete the dead letter of one run; False when there is none."""
        ...
