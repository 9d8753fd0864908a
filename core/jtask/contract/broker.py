"""A broker as a whole: a handful of parts, and how it is opened."""

import asyncio
from typing import Any, Protocol

from jtask.contract.blobs import BlobStore
from jtask.contract.counters import Counters, Slots
from jtask.contract.dead_letters import DeadLetters
from jtask.contract.events import EventLog
from jtask.contract.heartbeats import Heartbeats
from jtask.contract.logs import LogStore
from jtask.contract.queues import Queues
from jtask.contract.records import KeyValueStore
from jtask.contract.requests import RequestReply
from jtask.contract.results import OpenResultStore, ResultStore
from jtask.contract.runs import RunQueue

SEPARABLE = (
    "results",
    "events",
    "logs",
    "items",
    "blobs",
    "counters",
    "slots",
    "dead_letters",
    "heartbeats",
    "requests",
    "records",
)
"""The parts that another store can take over: each has a setting `<part>_url` and a group of entry
points `jtask.<part>`. Runs and their queues are the broker itself."""


class Broker(Protocol):
    """What `jtask.brokers` factories return: each part keeps its own promises."""

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        ...

    @property
    def inline_limit(self) -> int:
        """The largest body of a run or an outcome, in bytes; at least 64 KiB."""
        ...

    @property
    def runs(self) -> RunQueue:
        """Runs on their way to workers."""
        ...

    @property
    def queues(self) -> Queues:
        """How the queues stand."""
        ...

    @property
    def results(self) -> ResultStore:
        """The ends of runs."""
        ...

    @property
    def events(self) -> EventLog:
        """What happened to runs."""
        ...

    @property
    def logs(self) -> LogStore:
        """What runs have logged."""
        ...

    @property
    def items(self) -> LogStore:
        """What generators that execute in the background have yielded."""
        ...

    @property
    def blobs(self) -> BlobStore:
        """What is too big for a message."""
        ...

    @property
    def counters(self) -> Counters:
        """Counts across processes."""
        ...

    @property
    def slots(self) -> Slots:
        """Limits and locks across processes."""
        ...

    @property
    def dead_letters(self) -> DeadLetters:
        """Runs that will not be executed any more."""
        ...

    @property
    def heartbeats(self) -> Heartbeats:
        """Which workers live."""
        ...

    @property
    def requests(self) -> RequestReply:
        """Questions to the processes that live now."""
        ...

    @property
    def records(self) -> KeyValueStore:
        """Small values that outlive every process."""
        ...

    async def close(self) -> None:
        """Send what is still buffered, then close the connection, and leave no task on the loop.

        It may be called again, and what the broker has opened, such as a `Consumption`, may be
        closed after it.
        """
        ...


FullBroker = Broker
"""The earlier name of `Broker`, kept for programs that import it."""


class BrokerFactory(Protocol):
    """What an entry point of the group `jtask.brokers` names, by URL scheme.

    One whose brokers no other process can reach is marked with `jtask.contract.in_process`.
    """

    async def __call__(self, url: str, client: str, loop: asyncio.AbstractEventLoop) -> Broker:
        """Connect.

        Args:
            url: The value of JTASK_URL.
            client: This process's client id (`jtask.ids.RunIds.client`).
            loop: The I/O loop, which is running this.

        Raises:
            BrokerUnavailable: It cannot be reached within the connect timeout of the settings.
            BrokerTooOld: It lacks something.
        """
        ...


class ResultStoreFactory(Protocol):
    """What an entry point of the group `jtask.results` names, by URL scheme."""

    async def __call__(
        self, url: str, client: str, loop: asyncio.AbstractEventLoop
    ) -> OpenResultStore:
        """Connect; the arguments and errors are those of `BrokerFactory`."""
        ...


class PartFactory(Protocol):
    """What an entry point of the group `jtask.<part>` names, by URL scheme."""

    async def __call__(self, url: str, client: str, loop: asyncio.AbstractEventLoop) -> Any:
        """Connect; the arguments and errors are those of `BrokerFactory`.

        Args:
            url: The value of the setting `<part>_url`.
            client: This process's client id.
            loop: The I/O loop, which is running this.

        Returns:
            Any: The part, with `url` and an asynchronous `close` besides what the part promises.
        """
        ...
