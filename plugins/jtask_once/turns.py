"""How many questions about keys are at the broker at once.

One call may have keys for 10,000 runs, and what is asked all at once is not answered in time.
"""

import asyncio
from weakref import WeakKeyDictionary

from jtask.contract import Broker

_AT_ONCE = 200  # questions
_turns: WeakKeyDictionary[Broker, asyncio.Semaphore] = WeakKeyDictionary()


def turns_at(broker: Broker) -> asyncio.Semaphore:
    """Return what is to be held while a broker is asked; not while one waits for anything else.

    Args:
        broker: Who is asked; on the I/O loop.
    """
    turns = _turns.get(broker)
    if turns is None:
        turns = _turns[broker] = asyncio.Semaphore(_AT_ONCE)
    return turns
