"""The broker contract as tests: what a broker package runs against itself.

A broker keeps `jtask.contract` when this passes under plain pytest::

    import asyncio

    from jtask.contract import Broker
    from jtask.testing.contract import BrokerContract
    from my_broker import open_broker


    class TestMyBroker(BrokerContract):
        async def open_broker(self, client: str) -> Broker:
            return await open_broker("my://127.0.0.1", client, asyncio.get_running_loop())

Each test is one rule and is named by it. Each runs on a loop of its own, in a namespace of its own
(`JTASK_NAMESPACE`), with a lease of one second (`JTASK_LEASE`): a broker takes both from
`jtask.settings`. What an environment may not be able to do is a method to override: see `Contract`.

A package that keeps only some of the promises subclasses their classes alone, for instance
`ResultStoreContract`; `broker_of` makes a broker of one part.
"""

from jtask.testing.contract.base import Contract, broker_of
from jtask.testing.contract.bench import Bench, Inbox
from jtask.testing.contract.blobs import BlobStoreContract
from jtask.testing.contract.counters import CounterContract, HeartbeatContract, SlotContract
from jtask.testing.contract.dead_letters import DeadLetterContract
from jtask.testing.contract.delays import DelayContract
from jtask.testing.contract.events import EventLogContract
from jtask.testing.contract.items import ItemStoreContract
from jtask.testing.contract.leases import LeaseContract
from jtask.testing.contract.logs import LogStoreContract
from jtask.testing.contract.namespaces import NamespaceContract
from jtask.testing.contract.parking import ParkingContract
from jtask.testing.contract.pausing import PauseContract
from jtask.testing.contract.queue_states import QueueStateContract
from jtask.testing.contract.queues import QueueContract
from jtask.testing.contract.records import KeyValueStoreContract
from jtask.testing.contract.replacing import ReplacingContract
from jtask.testing.contract.requests import RequestReplyContract
from jtask.testing.contract.restarts import RestartContract
from jtask.testing.contract.results import ResultStoreContract
from jtask.testing.contract.settling import SettlingContract


class BrokerContract(
    QueueContract,
    SettlingContract,
    LeaseContract,
    DelayContract,
    ReplacingContract,
    DeadLetterContract,
    ResultStoreContract,
    EventLogContract,
    LogStoreContract,
    ItemStoreContract,
    BlobStoreContract,
    CounterContract,
    SlotContract,
    HeartbeatContract,
    RequestReplyContract,
    KeyValueStoreContract,
    ParkingContract,
    PauseContract,
    QueueStateContract,
    NamespaceContract,
    RestartContract,
):
    """Every rule of `jtask.contract.Broker`."""


__all__ = [
    "Bench",
    "BlobStoreContract",
    "BrokerContract",
    "Contract",
    "CounterContract",
    "DeadLetterContract",
    "DelayContract",
    "EventLogContract",
    "HeartbeatContract",
    "Inbox",
    "ItemStoreContract",
    "KeyValueStoreContract",
    "LeaseContract",
    "LogStoreContract",
    "NamespaceContract",
    "ParkingContract",
    "PauseContract",
    "QueueContract",
    "QueueStateContract",
    "ReplacingContract",
    "RequestReplyContract",
    "RestartContract",
    "ResultStoreContract",
    "SettlingContract",
    "SlotContract",
    "broker_of",
]
