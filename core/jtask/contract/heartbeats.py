"""Which workers live."""

from typing import Protocol


class Heartbeats(Protocol):
    """Know which workers live, by what they say of themselves."""

    async def beat(self, worker: str, info: bytes, ttl: float) -> None:
        """Say that a worker lives.

        Args:
            worker: Its name.
            info: What it says of itself.
            ttl: Seconds after which it counts as dead unless this is said again.
        """
        ...

    async def living(self) -> list[tuple[str, bytes]]:
        """Return the living workers and what they said of themselves."""
        ...
