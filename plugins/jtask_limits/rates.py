"""Rates: so many beginnings of something within a period, wherever they are."""

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jtask_limits.wanted_slots import (
    checked_names,
    checked_occupy,
    checked_timeout,
    find_limits,
    within,
)

if TYPE_CHECKING:
    from jtask.client import Client
    from jtask_limits.definitions import Limit

_SOON = 0.01  # seconds, so that a slot whose lease ends just now is free


def rate_limit(
    names: str | Sequence[str],
    occupy: int = 1,
    *,
    timeout_seconds: float | None = None,
    strict: bool = False,
) -> None:
    """Wait until something may begin without more beginnings than rates with names allow.

    Args:
        names: Of the rates.
        occupy: How many beginnings it counts as.
        timeout_seconds: How long to wait at most; None waits as long as it takes.
        strict: Raise where there is no such rate. Otherwise go on, with a warning.

    Raises:
        ValueError: `occupy` is not a whole number of at least 1, or more than a burst has; or a
            limit is not one of a rate.
        LimitTimeout: The time is over.
        LimitNotFound: With `strict`, there is no such rate.
        BrokerError: The broker does not answer.
    """
    from jtask.client import get_client

    wanted = checked_names(names), checked_occupy(occupy), checked_timeout(timeout_seconds)
    client = get_client()
    client.io.run(_wait_for_rates(client, *wanted, strict=strict))


async def arate_limit(
    names: str | Sequence[str],
    occupy: int = 1,
    *,
    timeout_seconds: float | None = None,
    strict: bool = False,
) -> None:
    """Do `rate_limit` on an event loop."""
    from jtask.client import get_client

    wanted = checked_names(names), checked_occupy(occupy), checked_timeout(timeout_seconds)
    client = get_client()
    await client.io.bridge(_wait_for_rates(client, *wanted, strict=strict))


async def _wait_for_rates(
    client: "Client",
    names: list[str],
    occupy: int,
    timeout_seconds: float | None,
    *,
    strict: bool,
) -> None:
    limits = await find_limits(client, names, occupy, strict=strict)
    for limit in limits:
        if limit.per is None:
            raise ValueError(
                f"the limit {limit.name!r} is not a rate: make it one with "
                f"`jtask limits update {limit.name} {limit.slots} --per second`"
            )

    async def begin_all() -> None:
        for limit in limits:
            for _ in range(occupy):
                await _begin(client, limit)

    await within(begin_all(), timeout_seconds, names)


async def _begin(client: "Client", limit: "Limit") -> None:
    """Take a slot that is never given back: its lease is the window in which it counts."""
    from jtask_limits.definitions import slot_name

    slots, name = client.broker.slots, slot_name(limit.name)
    count, seconds = limit.window()
    while not await slots.acquire(name, f"rate-{client.ids.new()}", count, seconds):
        ends = [one.until for one in await slots.holders(name)]
        left = min(ends, default=0.0) - time.time()
        await asyncio.sleep(min(max(left, 0.0) + _SOON, seconds))
