"""What a broker promises, as small protocols: a broker is a handful of parts.

Everything here runs on one event loop: the I/O thread's. A broker is opened there and all methods
of its parts are called there, save those named `..._from_thread` and `..._from_loop`, and
`prepare_enqueue`. Times are seconds, instants seconds since the epoch, sizes bytes. Bodies are
opaque to a broker (docs/wire-format.md says what is in them). A broker raises `jtask.errors` only.
"""

from typing import TYPE_CHECKING

from jtask.lazy_names import lazy_names

if TYPE_CHECKING:
    from jtask.contract.addresses import check_message, check_messages, check_queue
    from jtask.contract.blobs import BLOB_MARGIN, BlobStore
    from jtask.contract.broker import (
        SEPARABLE,
        Broker,
        BrokerFactory,
        FullBroker,
        PartFactory,
        ResultStoreFactory,
    )
    from jtask.contract.counters import Counters, SlotHolder, Slots
    from jtask.contract.dead_letters import DeadLetter, DeadLetters
    from jtask.contract.event_group import EventGroup
    from jtask.contract.events import Event, EventBounds, EventLog, EventPage
    from jtask.contract.heartbeats import Heartbeats
    from jtask.contract.logs import END_OF_ATTEMPT, ITEM, LogLine, LogPage, LogStore
    from jtask.contract.message_group import MessageGroup
    from jtask.contract.queues import Pause, QueueInfo, Queues, RunPlace, WaitingRun
    from jtask.contract.reach import in_process, is_in_process
    from jtask.contract.records import KeyValueStore, Record
    from jtask.contract.requests import RequestReply
    from jtask.contract.results import OpenResultStore, OutcomeRecord, ResultStore, Subscription
    from jtask.contract.runs import (
        ATOMIC_LIMIT,
        DEFAULT_PRIORITY,
        EXPIRY_GRACE,
        Consumption,
        Delivery,
        Message,
        PreparedRuns,
        RunQueue,
    )
    from jtask.contract.separate import SeparatePart
    from jtask.durations import HORIZON
    from jtask.names import TOP_PRIORITY, is_name

__all__ = [
    "ATOMIC_LIMIT",
    "BLOB_MARGIN",
    "DEFAULT_PRIORITY",
    "END_OF_ATTEMPT",
    "EXPIRY_GRACE",
    "HORIZON",
    "ITEM",
    "SEPARABLE",
    "TOP_PRIORITY",
    "BlobStore",
    "Broker",
    "BrokerFactory",
    "Consumption",
    "Counters",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "Event",
    "EventBounds",
    "EventGroup",
    "EventLog",
    "EventPage",
    "FullBroker",
    "Heartbeats",
    "KeyValueStore",
    "LogLine",
    "LogPage",
    "LogStore",
    "Message",
    "MessageGroup",
    "OpenResultStore",
    "OutcomeRecord",
    "PartFactory",
    "Pause",
    "PreparedRuns",
    "QueueInfo",
    "Queues",
    "Record",
    "RequestReply",
    "ResultStore",
    "ResultStoreFactory",
    "RunPlace",
    "RunQueue",
    "SeparatePart",
    "SlotHolder",
    "Slots",
    "Subscription",
    "WaitingRun",
    "check_message",
    "check_messages",
    "check_queue",
    "in_process",
    "is_in_process",
    "is_name",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "jtask.contract.addresses": ["check_message", "check_messages", "check_queue"],
        "jtask.contract.blobs": ["BLOB_MARGIN", "BlobStore"],
        "jtask.contract.broker": [
            "SEPARABLE",
            "Broker",
            "BrokerFactory",
            "FullBroker",
            "PartFactory",
            "ResultStoreFactory",
        ],
        "jtask.contract.counters": ["Counters", "SlotHolder", "Slots"],
        "jtask.contract.dead_letters": ["DeadLetter", "DeadLetters"],
        "jtask.contract.event_group": ["EventGroup"],
        "jtask.contract.events": ["Event", "EventBounds", "EventLog", "EventPage"],
        "jtask.contract.heartbeats": ["Heartbeats"],
        "jtask.contract.reach": ["in_process", "is_in_process"],
        "jtask.contract.logs": ["END_OF_ATTEMPT", "ITEM", "LogLine", "LogPage", "LogStore"],
        "jtask.contract.message_group": ["MessageGroup"],
        "jtask.contract.queues": ["Pause", "QueueInfo", "Queues", "RunPlace", "WaitingRun"],
        "jtask.contract.records": ["KeyValueStore", "Record"],
        "jtask.contract.requests": ["RequestReply"],
        "jtask.contract.results": [
            "OpenResultStore",
            "OutcomeRecord",
            "ResultStore",
            "Subscription",
        ],
        "jtask.contract.runs": [
            "ATOMIC_LIMIT",
            "DEFAULT_PRIORITY",
            "EXPIRY_GRACE",
            "Consumption",
            "Delivery",
            "Message",
            "PreparedRuns",
            "RunQueue",
        ],
        "jtask.contract.separate": ["SeparatePart"],
        "jtask.durations": ["HORIZON"],
        "jtask.names": ["TOP_PRIORITY", "is_name"],
    },
)
