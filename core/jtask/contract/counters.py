"""What processes agree on: counters and slots."""

from typing import NamedTuple, Protocol


class Counters(Protocol):
    """Count across processes."""

    async def add(self, key: str, amount: int = 1, *, ttl: float | None = None) -> int:
        """Add to a counter, which starts at 0, and return its new value.

        Args:
            key: Any text of up to 200 characters.
            amount: What to add; may be negative.
            ttl: Seconds after which the counter is deleted unless something is added again, at
                least 1; None keeps it until it is deleted. Give the same for each call of a key.
        """
        ...

    async def delete(self, key: str) -> None:
        """Delete a counter: it starts at 0 again; nothing happens when there is none."""
        ...


class SlotHolder(NamedTuple):
    """Who has a slot.

    Attributes:
        holder: As given to `Slots.acquire`.
        until: When the slot is free unless it is renewed, seconds since the epoch.
    """

    holder: str
    until: float


class Slots(Protocol):
    """Share a limited number of slots between processes; a lock is a limit of 1."""

    async def acquire(
        self, name: str, holder: str, limit: int, lease: float, *, token: str | None = None
    ) -> str | None:
        """Take a slot of a name, or renew the one that the holder has.

        Args:
            name: Any text of up to 200 characters.
            holder: Who takes it.
            limit: How many slots the name has; the same for all who ask for it. With 0 nothing but
                a slot that the holder has, or is handed by a token, is taken.
            lease: Seconds after which the slot is free again unless it is renewed, at least 1.
            token: Of a slot to take over, one's own or somebody else's who hands it on; whatever
                the limit is. A token that is valid no more counts as None.

        Returns:
            str | None: The token of the slot that the holder has now, valid until the slot is
                renewed, taken over or freed; None when none is free.
        """
        ...

    async def release(self, name: str, token: str) -> None:
        """Free a slot; nothing happens when the token is valid no more."""
        ...

    async def holders(self, name: str) -> list[SlotHolder]:
        """Return who has a slot of a name, in any order."""
        ...
