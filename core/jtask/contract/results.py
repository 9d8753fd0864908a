"""The ends of runs."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol


class OutcomeRecord(NamedTuple):
    """The stored end of a run: its id and its body (docs/wire-format.md)."""

    run_id: str
    body: bytes


class Subscription(Protocol):
    """Stands until it is closed: a callback that is called for what arrives."""

    async def close(self) -> None:
        """End it; the callback is not called any more."""
        ...


class ResultStore(Protocol):
    """Keep outcomes for the time of the setting `result_ttl`."""

    # Not `async def`: a coroutine would send nothing before it is awaited.
    def put(self, outcome: OutcomeRecord) -> Awaitable[bool]:
        """Store the first outcome of a run, and push it to whoever watches.

        Sends at once, before the result is awaited, so that outcomes can be pipelined. A store may
        also have `put_many(run_ids, bodies, done)`, which does the same with many outcomes in fewer
        steps, each for itself: `done(places, answer)` is called on the loop with the places of
        some of them and their answer or `BrokerError`, until it has had each place once. It raises
        only where nothing was sent. And a store may have `put_from_thread(outcome, done)`, for one
        outcome in any other thread: `done(answer)` is called on the loop all the same.

        Returns:
            Awaitable[bool]: True when this outcome is now the stored one, also when the same was
            sent before; False when another came first, which stands.
        """
        ...

    async def get(self, run_id: str) -> OutcomeRecord | None:
        """Return a run's outcome, or None when there is none yet or no more.

        A store may also have `get_from_thread(run_id, seconds)`, which blocks any thread but the
        loop's until there is one, no longer than that. None says nothing: whoever gets it watches
        and asks here. It returns soon where a thread cannot be served at the moment. Likewise the
        coroutine function `get_from_loop(run_id, seconds)`, on any other event loop.
        """
        ...

    async def watch(
        self,
        target: str,
        deliver: Callable[[OutcomeRecord], None],
        on_gap: Callable[[], None],
    ) -> Subscription:
        """Push outcomes as they are stored.

        Args:
            target: A run id, or the client id that a process's own run ids carry (`client_of`).
            deliver: Called on the loop for each outcome; may see one twice.
            on_gap: Called on the loop when outcomes may have been missed: ask with `get`.
        """
        ...


class OpenResultStore(ResultStore, Protocol):
    """A result store with a connection of its own; what `jtask.results` factories return."""

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        ...

    @property
    def inline_limit(self) -> int:
        """The largest body that `put` takes, in bytes; at least 64 KiB."""
        ...

    async def close(self) -> None:
        """Send what is still buffered, then close the connection."""
        ...
