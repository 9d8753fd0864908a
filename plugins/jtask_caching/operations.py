"""Look after the cache from a program: each function blocks, from any thread."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jtask_caching.store import Entry


def list_entries(task: str | None = None) -> "list[Entry]":
    """Return what is kept, oldest first, without the values that lie apart.

    Args:
        task: Only what the task of this name has computed.

    Raises:
        BrokerError: The broker cannot be reached, or refuses.
    """
    from jtask.client import get_client
    from jtask_caching.store import Cache

    client = get_client()
    found = client.io.run(Cache(client.broker).entries())
    return [entry for entry in found if task in (None, entry.task)]


def forget(keys: Iterable[str]) -> list[str]:
    """Forget the values under some keys.

    Args:
        keys: The keys.

    Returns:
        list[str]: Those under which there was one.

    Raises:
        BrokerError: The broker cannot be reached, or refuses.
    """
    from jtask.client import get_client
    from jtask_caching.store import Cache

    client = get_client()

    async def delete_all() -> list[str]:
        cache = Cache(client.broker)
        return [key for key in keys if await cache.delete(key)]

    return client.io.run(delete_all())
