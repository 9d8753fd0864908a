"""A broker as a whole, and how one is opened."""

import asyncio
from typing import Protocol

from jtask.contract.coordination import Control, Coordinator, Presence
from jtask.contract.events import EventLog
from jtask.contract.outcomes import OpenResultStore, ResultStore
from jtask.contract.queues import Queues
from jtask.contract.runs import Broker
from jtask.contract.storage import BlobStore, DeadLetters, Records


class FullBroker(
    Broker,
    ResultStore,
    EventLog,
    BlobStore,
    Coordinator,
    DeadLetters,
    Presence,
    Control,
    Records,
    Queues,
    Protocol,
):
    """A broker that keeps all its promises; what `jtask.brokers` factories return."""


class BrokerFactory(Protocol):
    """What an entry point of the group `jtask.brokers` names, by URL scheme."""

    async def __call__(self, url: str, client: str, loop: asyncio.AbstractEventLoop) -> FullBroker:
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
        """Connect.

        Args:
            url: The value of JTASK_RESULTS_URL.
            client: This process's client id (`jtask.ids.RunIds.client`).
            loop: The I/O loop, which is running this.

        Raises:
            BrokerUnavailable: It cannot be reached within the connect timeout of the settings.
            BrokerTooOld: It lacks something.
        """
        ...
