"""Look after what is recorded of transactions: each function blocks, from any thread."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jtask_transactions.records import Entry


def list_transactions() -> "list[Entry]":
    """Return what is recorded under keys, oldest first.

    Raises:
        BrokerError: The broker cannot be reached, or refuses.
    """
    from jtask.client import get_client
    from jtask_transactions.records import list_entries

    client = get_client()
    return client.io.run(list_entries(client.broker))


def forget_transactions(keys: Iterable[str]) -> list[str]:
    """Forget that the work of some keys was done: it is done again.

    Args:
        keys: The keys.

    Returns:
        list[str]: Those under which something was recorded.

    Raises:
        BrokerError: The broker cannot be reached, or refuses.
    """
    from jtask.client import get_client
    from jtask_transactions.records import TRANSACTIONS, record_name

    client = get_client()

    async def delete_all() -> list[str]:
        records = client.broker.records
        return [key for key in keys if await records.delete(TRANSACTIONS, record_name(key))]

    return client.io.run(delete_all())
