"""What happened to runs."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple, Protocol

from jtask.contract.results import Subscription


class Event(NamedTuple):
    """One state entered by one run.

    Attributes:
        until: The instant that a waiting state waits for.
        tags: Those of the run; said with its first state only, as the next three.
        parent: The run that called or enqueued this one; empty when there is none.
        version: The task's version; empty when it has none.
        queue: Where the run was put; empty for a direct call, and when it is not known.
        run_name: The run's own name; empty before it was given one.
        arguments: What is recorded of its arguments, see `jtask.run_arguments`; said with the first
            state of a run that was put on a queue.
        error: The name of the type of what was raised; said with the state of a run that failed.
        trace_id: The trace that the run belongs to, in hexadecimal; said with the first state of a
            run that was put on a queue, and with the states that end an attempt. Empty without one.
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
    arguments: str = ""
    error: str = ""
    trace_id: str = ""


class EventPage(NamedTuple):
    """Some events, and where to read on.

    Attributes:
        events: In the order in which they were appended.
        first: The position of the first of them. Where it does not follow the one after which was
            read, what was between is no longer kept.
        position: To be given to `EventLog.read_pages` as `after`.
    """

    events: list[Event]
    first: int
    position: int


class EventBounds(NamedTuple):
    """What a log keeps now.

    Attributes:
        identity: Of the log; one that was deleted and made anew has another.
        first: The position of the oldest that is kept; `last + 1` when nothing is.
        last: The position of the newest that there was; 0 before the first.
    """

    identity: str
    first: int
    last: int


class EventLog(Protocol):
    """Keep what happened, in order of arrival, without ever slowing a run.

    For the time of the setting `event_ttl`.
    """

    # Not asynchronous: nobody must ever wait for an event.
    def append(self, events: Sequence[Event]) -> None:
        """Send a batch; fire and forget."""
        ...

    def read(self, *, since: float | None = None) -> AsyncIterator[Event]:
        """Read back what is kept, oldest first, up to now.

        Events of a run are in their order, unless something went wrong meanwhile.

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

    def read_pages(self, *, after: int = 0) -> AsyncIterator[EventPage]:
        """Read what is kept, oldest first, up to now, a bounded page at a time.

        Args:
            after: Skip what comes up to this position.
        """
        ...

    async def bounds(self) -> EventBounds:
        """Return what is kept now."""
        ...

    async def watch(self, on_news: Callable[[], None]) -> Subscription:
        """Push the news that there are more events.

        Args:
            on_news: Called on the loop, soon after events were appended: they may be kept only a
                moment later, so look again where nothing is found.
        """
        ...
