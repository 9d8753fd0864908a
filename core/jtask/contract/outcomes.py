"""The ends of runs."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, runtime_checkable

from jtask.errors import BrokerError


class OutcomeRecord(NamedTuple):
    """The stored end of a run: its id and its body (docs/wire-format.md)."""

    run_id: str
    body: bytes


class Watch(Protocol):
    """A standing wish for outcomes."""

    async def close(self) -> None:
        """Want no more."""
        ...


class ResultStore(Protocol):
    """Keep outcomes for the time to live of the settings."""

    def put(self, outcome: OutcomeRecord) -> Awaitable[bool]:
        """Store the first outcome of a run, and push it to whoever watches.

        Sends at once, before the result is awaited, so that outcomes can be pipelined.

        Returns:
            Awaitable[bool]: True when this outcome is now the stored one; False when another
            came first, which stands.
        """
        ...

    async def get(self, run_id: str) -> OutcomeRecord | None:
        """Return a run's outcome, or None when there is none yet or no more."""
        ...

    async def watch(
        self,
        target: str,
        deliver: Callable[[OutcomeRecord], None],
        gap: Callable[[], None],
    ) -> Watch:
        """Push outcomes as they are stored.

        Args:
            target: A run id, or the client id that a process's own run ids carry (`client_of`).
            deliver: Called on the loop for each outcome; may see one twice.
            gap: Called on the loop when outcomes may have been missed: ask with `get`.
        """
        ...


@runtime_checkable
class QuickPut(Protocol):
    """A shorter way for workers, without a future for each outcome: optional for a result store."""

    def put_then(self, outcome: OutcomeRecord, done: Callable[[bool | BrokerError], None]) -> None:
        """Do `put`, and call a function on the loop with its answer, or with its error."""
        ...


class OpenResultStore(ResultStore, Protocol):
    """A result store with a connection of its own; what `jtask.results` factories return.

    Every `FullBroker` is one.
    """

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        ...

    @property
    def inline_limit(self) -> int:
        """The largest body that `put` takes, in bytes; at least 64 KiB."""
        ...

    async def close(self) -> None:
        """Send what is still buffered, then let go of the connection."""
        ...
