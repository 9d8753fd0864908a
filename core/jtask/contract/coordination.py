"""How living processes meet: counters, slots, presence, questions."""

from collections.abc import Callable
from typing import Protocol

from jtask.contract.outcomes import Watch


class Coordinator(Protocol):
    """Agree between processes: counters, locks, slots."""

    async def add(self, key: str, amount: int = 1) -> int:
        """Add to a counter (it starts at 0) and return its new value."""
        ...

    async def acquire(self, name: str, holder: str, limit: int, lease: float) -> bool:
        """Take one of `limit` slots of a name for `lease` seconds (at least 1); a lock is limit 1.

        A holder that has a slot renews it.
        """
        ...

    async def release(self, name: str, holder: str) -> None:
        """Give a slot back; nothing happens when the holder has none."""
        ...


class Presence(Protocol):
    """Know which workers live."""

    async def announce(self, worker: str, info: bytes, ttl: float) -> None:
        """Say that a worker lives; forgotten after `ttl` seconds unless said again."""
        ...

    async def workers(self) -> list[tuple[str, bytes]]:
        """List the living workers and what they said of themselves."""
        ...


class Control(Protocol):
    """Talk to the processes that live now; nothing is kept."""

    async def listen(self, topic: str, answer: Callable[[bytes], bytes | None]) -> Watch:
        """Hear what is asked under a topic.

        Args:
            topic: Letters, digits, `_` and `-`.
            answer: Called on the loop with each question; must not block. What it returns is sent
                back, None stays silent.
        """
        ...

    async def ask(
        self, topic: str, question: bytes, *, timeout: float, answers: int | None = None
    ) -> list[bytes]:
        """Ask everybody who listens to a topic.

        Args:
            topic: The topic.
            question: What they hear.
            timeout: How long to wait for answers; it returns at once when nobody listens.
            answers: Return as soon as this many came; None waits the whole time.
        """
        ...
