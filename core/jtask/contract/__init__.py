"""What a broker promises, as small protocols; each can be implemented on its own.

Everything here runs on one event loop: the I/O thread's (`jtask.client.io_thread`). A broker is
opened there and all its methods are called there, save those of `ThreadEnqueue`. Times are seconds,
instants seconds since the epoch, sizes bytes. Bodies are opaque to a broker (docs/wire-format.md
says what is in them). A broker raises `jtask.errors` only.
"""

from jtask.contract.brokers import BrokerFactory, FullBroker, ResultStoreFactory
from jtask.contract.coordination import Control, Coordinator, Presence
from jtask.contract.events import Event, EventLog
from jtask.contract.outcomes import OpenResultStore, OutcomeRecord, QuickPut, ResultStore, Watch
from jtask.contract.queues import FOREVER, QueueInfo, Queues, WaitingRun
from jtask.contract.runs import (
    ATOMIC_LIMIT,
    DEFAULT_PRIORITY,
    Broker,
    Consumption,
    Delivery,
    Message,
    ThreadEnqueue,
)
from jtask.contract.storage import BlobStore, DeadLetter, DeadLetters, Record, Records

__all__ = [
    "ATOMIC_LIMIT",
    "DEFAULT_PRIORITY",
    "FOREVER",
    "BlobStore",
    "Broker",
    "BrokerFactory",
    "Consumption",
    "Control",
    "Coordinator",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "Event",
    "EventLog",
    "FullBroker",
    "Message",
    "OpenResultStore",
    "OutcomeRecord",
    "Presence",
    "QueueInfo",
    "Queues",
    "QuickPut",
    "Record",
    "Records",
    "ResultStore",
    "ResultStoreFactory",
    "ThreadEnqueue",
    "WaitingRun",
    "Watch",
]
