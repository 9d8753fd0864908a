"""What an index of runs answers: a plugin may have one, see the hook `jtask_run_index`."""

from typing import NamedTuple, Protocol

from jtask.run_filters import RunFilter
from jtask.run_summaries import RunSummary


class RunPage(NamedTuple):
    """Some runs, newest first.

    Attributes:
        runs: They.
        after: What to give as `after` for the next page; None where there is none.
        reached: Where it is not full because looking further would have taken too long: back to
            which instant it has looked, seconds since the epoch. The next page goes on from there.
            None for all other pages.
    """

    runs: list[RunSummary]
    after: str | None
    reached: float | None = None


class IndexPosition(NamedTuple):
    """How far an index has come.

    Attributes:
        position: Of the event log; grows whenever anything changes.
        identity: Of that log; another one means that all was read anew.
        missed: Messages of events that the broker had dropped before they were read.
        changed: When it came this far, seconds since the epoch.
    """

    position: int
    identity: str
    missed: int
    changed: float


class RunIndex(Protocol):
    """Runs, to be found by filters; each call blocks."""

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        ...

    def position(self) -> IndexPosition | None:
        """Return how far it has come; None before it has read anything."""
        ...

    def runs(self, wanted: RunFilter, *, after: str | None = None, limit: int = 50) -> RunPage:
        """Return a page of the runs that are meant, newest first.

        Args:
            wanted: Which.
            after: The `after` of the page before; None for the first one.
            limit: How many at most, see `RunPage.reached`.
        """
        ...

    def close(self) -> None:
        """Close it."""
        ...
