"""What a transaction with a key does with the broker: its lock, and its record."""

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from jtask.cache_policies import IsolationLevel
from jtask.errors import BrokerError, TransactionError
from jtask_transactions.stages import TransactionState

if TYPE_CHECKING:
    from jtask.client import Client
    from jtask_transactions.records import Entry, Values
    from jtask_transactions.tree import Transaction
    from jtask_transactions.ways import Way

_log = logging.getLogger("jtask")


async def begin(txn: "Transaction", way: "Way") -> None:
    """Begin a transaction: wait for the lock of its key, and look whether its work is done.

    Args:
        txn: The transaction; it is active afterwards, or committed.
        way: How to wait.

    Raises:
        BrokerError: There is a key, and the broker does not answer.
        TransactionError: What is recorded cannot be read.
    """
    if txn.key is None:
        txn.enter(TransactionState.ACTIVE)
        return
    from jtask_transactions.records import serializer_here

    # Now: where it is committed, its task may execute no more.
    txn.serializer = serializer_here()
    txn.entry = await way.on_io(partial(_open, txn, txn.key), txn.about)
    if txn.entry is None or txn.overwrite:
        txn.enter(TransactionState.ACTIVE)
        return
    txn.begin_ending(TransactionState.COMMITTED)
    txn.enter(TransactionState.COMMITTED)
    # There is nothing to keep others from.
    await let_go(txn, way)


async def read(txn: "Transaction", way: "Way") -> Any:
    """Return what is recorded under the key of a transaction; None where nothing is."""
    if txn.key is None:
        return None
    if txn.entry is None:
        txn.entry = await way.on_io(partial(_find, txn, txn.key), txn.about)
    return None if txn.entry is None else _values_of(txn).decode(txn.entry)


async def write(txn: "Transaction", way: "Way") -> None:
    """Record what was staged.

    Raises:
        TransactionError: The lock was lost, and somebody else has recorded it.
        BrokerError: It was not recorded, or that is not known.
    """
    from jtask_transactions.records import new_entry

    key = str(txn.key)
    payload = encoded(txn, None) if txn.payload is None else txn.payload
    entry = new_entry(key, txn.opened_in, txn.serializer, payload)
    await way.on_io(partial(_write, txn, key, entry), txn.about)
    txn.entry = entry


async def let_go(txn: "Transaction", way: "Way") -> None:
    """Give the lock of a transaction back, where it has taken one."""
    lock, txn.lock = txn.lock, None
    if lock is None:
        return
    from jtask_transactions.locks import release

    txn.locks.pop(str(txn.key), None)
    try:
        await way.on_io(lambda client: release(client, lock), txn.about)
    except BrokerError as error:
        _log.debug("the lock %s is given back by its lease only: %s", lock.name, error)


def encoded(txn: "Transaction", value: Any) -> bytes:
    """Write the value of a transaction with a key, which has begun.

    Raises:
        ResultError: It cannot be recorded.
    """
    from jtask_transactions.records import check_size

    payload = _values_of(txn).encode(value)
    check_size(payload, txn.inline_limit, txn.about)
    return payload


def _values_of(txn: "Transaction") -> "Values":
    from jtask_transactions.records import Values, anything

    return Values(f"the value of {txn.about}", anything, txn.serializer)


async def _open(txn: "Transaction", key: str, client: "Client") -> "Entry | None":
    from jtask_transactions.locks import acquire, release

    txn.inline_limit = client.inline_limit
    if txn.isolation_level is not IsolationLevel.SERIALIZABLE:
        return await _find(txn, key, client)
    if key in txn.locks:
        # Another one of the same whole has the lock until that ends: to wait for it would be to
        # wait for ever.
        return await _find(txn, key, client)
    txn.lock = lock = await acquire(client, key)
    try:
        found = await _find(txn, key, client)
    except BaseException:
        txn.lock = None
        await release(client, lock)
        raise
    lock.revision = 0 if found is None else found.revision
    txn.locks[key] = lock
    return found


async def _find(txn: "Transaction", key: str, client: "Client") -> "Entry | None":
    from jtask_transactions.records import TRANSACTIONS, find, record_name

    return await find(client.broker, TRANSACTIONS, record_name(key), txn.about)


async def _write(txn: "Transaction", key: str, entry: "Entry", client: "Client") -> None:
    from jtask.settings import settings_of
    from jtask_transactions.records import TRANSACTIONS, record_name
    from jtask_transactions.settings import TransactionSettings

    lock = txn.locks.get(key)
    # Under a lock the record is as it was: if it is not, the lease was lost, and another has it.
    revision = None if lock is None else lock.revision
    ttl = settings_of(TransactionSettings).transaction_ttl
    is_stored = await client.broker.records.put(
        TRANSACTIONS, record_name(key), entry.encode(), revision=revision, ttl=ttl
    )
    if not is_stored:
        raise TransactionError(
            f"somebody else has recorded {txn.about}: this process was cut off from the broker for "
            f"longer than the lease (JTASK_LEASE)"
        )
    if lock is not None and lock is not txn.lock:
        # Its holder is still to write.
        stored = await _find(txn, key, client)
        lock.revision = 0 if stored is None else stored.revision
