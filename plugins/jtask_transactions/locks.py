"""The locks of keys whose transactions are SERIALIZABLE: slots, held under a lease."""

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jtask.argument_keys import storable
from jtask.errors import BrokerError

if TYPE_CHECKING:
    from jtask.client import Client

_LONGEST_KEY = 178  # characters that stay readable in the name of a slot
_LOOK_SECONDS = 15.0  # the longest wait without news: who has the lock may be lost with it
_SOON = 0.01  # seconds, so that a slot whose lease ends just now is free
_log = logging.getLogger("jtask")


@dataclass(slots=True, eq=False)
class KeyLock:
    """A lock that this process holds.

    Attributes:
        name: What the slot is called.
        holder: Who has it.
        revision: That of the key's record, which nobody else may change meanwhile.
    """

    name: str
    holder: str
    revision: int = 0


async def acquire(client: "Client", key: str) -> KeyLock:
    """Wait for the lock of a key; on the I/O loop.

    Args:
        client: The process's link to the broker.
        key: The key.

    Raises:
        BrokerError: The broker does not answer.
    """
    lock = KeyLock(lock_name(key), f"transaction-{client.ids.new()}")
    try:
        await _take(client, lock)
    except BaseException:
        # The answer may be lost, and the lock ours.
        await release(client, lock)
        raise
    return lock


async def release(client: "Client", lock: KeyLock) -> None:
    """Give a lock back, and tell those who wait; on the I/O loop."""
    from jtask.client.slot_news import tell_freed

    try:
        await client.slots.give_back(lock.name, lock.holder, 1)
    except BrokerError as error:
        _log.debug("the lock %s is given back by its lease only: %s", lock.name, error)
    await tell_freed(client, lock.name)


def lock_name(key: str) -> str:
    """Return what the slot of a key is called."""
    return f"transaction-{storable(key, _LONGEST_KEY)}"


async def _take(client: "Client", lock: KeyLock) -> None:
    from jtask.client.slot_news import take_when_freed

    async def take() -> str | None:
        return None if await client.slots.take(lock.name, lock.holder, 1) else lock.name

    await take_when_freed(client, take, lambda name: _patience(client, name))


async def _patience(client: "Client", name: str) -> float:
    """Return the seconds until the lease of whoever has the lock may be over."""
    ends = [one.until for one in await client.broker.slots.holders(name)]
    left = min(ends, default=0.0) - time.time() + _SOON
    return min(max(left, _SOON), _LOOK_SECONDS)
