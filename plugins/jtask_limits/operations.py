"""Look after limits from a program: each function blocks, from any thread."""

from typing import TYPE_CHECKING

from jtask.errors import LimitNotFound

if TYPE_CHECKING:
    from jtask.contract import SlotHolder
    from jtask_limits.definitions import Limit


def create_limit(limit: "Limit") -> bool:
    """Make a limit; False when there is one of its name.

    Raises:
        ValueError: It is none, see `Limit.check`.
        BrokerError: The broker cannot be reached, or refuses.
    """
    from jtask.client import get_client
    from jtask_limits.definitions import limits_of

    limit.check()
    client = get_client()
    return client.io.run(limits_of(client.broker).put(limit, is_new=True))


def update_limit(limit: "Limit") -> None:
    """Change a limit; what waits and may start now is started.

    Raises:
        LimitNotFound: There is none of its name.
        ValueError: It is none, see `Limit.check`.
        BrokerError: The broker cannot be reached, or refuses.
    """
    from jtask.client import get_client
    from jtask.client.slot_news import tell_freed
    from jtask_limits.definitions import limits_of, slot_name

    limit.check()
    client = get_client()

    async def change() -> None:
        limits = limits_of(client.broker)
        if not await limits.change(limit):
            raise LimitNotFound(f"there is no limit {limit.name!r}")
        await client.slots.watch(slot_name(limit.name), lambda: limits.slots_now(limit.name))
        await tell_freed(client, slot_name(limit.name))

    client.io.run(change())


def remove_limit(name: str) -> bool:
    """Remove a limit, and start what waits for it; False when there is none.

    Raises:
        BrokerError: The broker cannot be reached, or refuses.
    """
    from jtask.client import get_client
    from jtask.client.slot_news import tell_freed
    from jtask_limits.definitions import limits_of, slot_name

    client = get_client()

    async def remove() -> bool:
        was_there = await limits_of(client.broker).delete(name)
        await client.slots.wake_all(slot_name(name))
        await tell_freed(client, slot_name(name))
        return was_there

    return client.io.run(remove())


def list_limits() -> "list[Limit]":
    """Return all limits with names, by name.

    Raises:
        BrokerError: The broker cannot be reached, or refuses.
    """
    from jtask.client import get_client
    from jtask_limits.definitions import limits_of

    client = get_client()
    return client.io.run(limits_of(client.broker).list())


def holders_of(name: str) -> "list[SlotHolder]":
    """Return who holds slots of a limit: ids of runs, or names of blocks of code.

    Raises:
        BrokerError: The broker cannot be reached, or refuses.
    """
    from jtask.client import get_client
    from jtask_limits.definitions import slot_name

    client = get_client()
    return client.io.run(client.broker.slots.holders(slot_name(name)))
