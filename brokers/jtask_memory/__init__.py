"""The broker contract inside one process: for tests and notebooks.

Everything is in memory: it is shared by all brokers of this process that have the same URL and
namespace, and it ends with the process.
"""

from jtask_memory.broker import MemoryBroker, open_broker
from jtask_memory.clock import Clock, SystemClock, VirtualClock
from jtask_memory.storage import Storage, fresh_storage, storage_of

__all__ = [
    "Clock",
    "MemoryBroker",
    "Storage",
    "SystemClock",
    "VirtualClock",
    "fresh_storage",
    "open_broker",
    "storage_of",
]
