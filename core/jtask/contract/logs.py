"""What runs have written, line by line: their logs, and the items of generators."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple, Protocol

from jtask.contract.results import Subscription

END_OF_ATTEMPT = 0
"""The level of the line that says that an attempt writes no more."""


ITEM = 1
"""The level of a line of `Broker.items` that is an item; its `logger` is how that is written."""


class LogLine(NamedTuple):
    """One record of a run's log, or one of its items.

    Attributes:
        run_id: The run.
        at: When it was written, seconds since the epoch.
        level: As `logging` counts them, or END_OF_ATTEMPT.
        logger: Who wrote it.
        message: The text; it may have several lines.
        attempt: Of the run.
        worker: Who executed that.
        number: Counts the lines of one attempt in one worker, from 1.
    """

    run_id: str
    at: float
    level: int
    logger: str
    message: str
    attempt: int = 1
    worker: str = ""
    number: int = 0


class LogPage(NamedTuple):
    """Some lines of a run, and where to read on.

    Attributes:
        lines: In the order in which they were stored.
        position: To be given to `LogStore.read` as `after`.
    """

    lines: list[LogLine]
    position: int


class LogStore(Protocol):
    """Keep what runs have written.

    `Broker.logs` keeps it for the time of the setting `log_ttl`, `Broker.items` for `item_ttl`;
    that takes a line of half the broker's `inline_limit`, and leaves none out.
    """

    async def append(self, lines: Sequence[LogLine]) -> None:
        """Store lines of one or more runs; they are stored when this returns.

        The same lines given again within 30 seconds, because nobody knew whether they were stored,
        are stored once.

        Raises:
            BrokerError: They are not stored, or some may be.
        """
        ...

    def read(
        self, run_id: str, *, after: int = 0, to_the_last: bool = False
    ) -> AsyncIterator[LogPage]:
        """Read what is kept of one run, oldest first, up to now, a bounded page at a time.

        Args:
            run_id: The run.
            after: Skip what comes up to this position.
            to_the_last: Leave out nothing that was stored before this is called. Without it, of a
                broker of several servers the one that is asked may lag.
        """
        ...

    async def watch(self, run_id: str, on_news: Callable[[], None]) -> Subscription:
        """Push the news that more lines of a run are stored.

        Args:
            run_id: The run.
            on_news: Called on the loop, whenever there may be more to read; at least once for what
                is stored after this has returned.
        """
        ...
