"""The broker contract inside one process: for tests and notebooks.

Everything is in memory: it is shared by all brokers of this process that have the same URL and
namespace, and it ends with the process.
"""

from jtask_memory.broker import MemoryBroker, open_broker
from jtask_memory.clock import Clock, SystemClock, VirtualClock
from jtask_memory.space import Space, fresh_space, space_of

__all__ = [
    "Clock",
    "MemoryBroker",
    "Space",
    "SystemClock",
    "VirtualClock",
    "fresh_space",
    "open_broker",
    "space_of",
]
