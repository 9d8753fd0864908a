"""What happened to runs."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol


class Event(NamedTuple):
    """One state entered by one run.

    Attributes:
        until: The instant that a waiting state waits for.
        tags: Those of the run; said with its first state only, as the next three.
        parent: The run that called or enqueued this one; empty when there is none.
        version: The task's version; empty when it has none.
        queue: Where the run was put; empty for a direct call, and when it is not known.
        run_name: The run's own name; empty before it was given one.
    """

    run_id: str
    state: str
    at: float
    task: str
    attempt: int = 1
    worker: str = ""
    detail: str = ""
    until: float | None = None
    tags: tuple[str, ...] = ()
    parent: str = ""
    version: str = ""
    queue: str = ""
    run_name: str = ""


class EventLog(Protocol):
    """Keep what happened, in order of arrival, without ever slowing a run."""

    # Not asynchronous: nobody must ever wait for an event.
    def append(self, events: Sequence[Event]) -> None:
        """Send a batch; fire and forget."""
        ...

    def read(self, *, since: float | None = None) -> AsyncIterator[Event]:
        """Read back what is kept, oldest first, up to now; each run's events in their order.

        Args:
            since: Skip what was appended before this instant, seconds since the epoch.
        """
        ...

    def read_run(self, run_id: str, *, since: float | None = None) -> AsyncIterator[Event]:
        """Read the events of one run, oldest first, up to now, without reading all others.

        Args:
            run_id: The run.
            since: Skip what was appended before this instant, seconds since the epoch.
        """
        ...
