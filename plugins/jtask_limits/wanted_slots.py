"""What a block of code asks for: slots of limits with some names, for some time."""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jtask.errors import LimitNotFound, LimitTimeout
from jtask.numbers import is_number
from jtask.rate_limited_log import RateLimitedLog

if TYPE_CHECKING:
    from jtask.client import Client
    from jtask_limits.definitions import Limit

_unknown = RateLimitedLog(60.0)
_log = logging.getLogger("jtask")


def checked_names(names: str | Sequence[str]) -> list[str]:
    """Return one or several names as a list.

    Raises:
        ValueError: One is no text.
    """
    found: list[Any] = [names]
    if not isinstance(names, str) and isinstance(names, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        found = list(names)
    if not all(isinstance(name, str) for name in found):
        raise ValueError(f"names must be the name of a limit or a list of them, got {names!r}")
    # In the same order for all, so that two never wait for each other.
    return sorted(set(found))


def checked_timeout(seconds: float | None) -> float | None:
    """Return how long to wait at most.

    Raises:
        ValueError: It is neither a number nor None.
    """
    if seconds is not None and not is_number(seconds):
        raise ValueError(f"timeout_seconds must be a number of seconds or None, got {seconds!r}")
    return seconds


def checked_occupy(occupy: object) -> int:
    """Return how many slots are wanted.

    Raises:
        ValueError: It is not a whole number of at least 1.
    """
    if not isinstance(occupy, int) or isinstance(occupy, bool) or occupy < 1:
        raise ValueError(f"occupy must be a whole number of at least 1, got {occupy!r}")
    return occupy


async def find_limits(
    client: "Client", names: list[str], occupy: int, *, strict: bool
) -> "list[Limit]":
    """Return the limits of some names, without those that there are not; on the I/O loop.

    Args:
        client: Whose.
        names: Of the limits.
        occupy: How many slots of each are wanted.
        strict: Whether to raise where there is none, and not to warn.

    Raises:
        LimitNotFound: With `strict`, there is no such limit.
        ValueError: A limit has fewer slots.
        BrokerError: The broker does not answer.
    """
    from jtask_limits.definitions import limits_of

    limits: list[Limit] = []
    for name in names:
        limit = await limits_of(client.broker).find(name)
        if limit is None and strict:
            raise LimitNotFound(f"there is no limit {name!r}: make it with `jtask limits create`")
        if limit is None:
            if count := _unknown.count(name):
                _log.warning(
                    "there is no limit %r, so nothing waits for it (%d times since the last line)",
                    name,
                    count,
                )
            continue
        most = limit.slots if limit.per is None else limit.window()[0]
        if occupy > most > 0:
            raise ValueError(f"{occupy} slots of {name!r} can never be had: it has {most}")
        limits.append(limit)
    return limits


async def within(
    waiting: Coroutine[Any, Any, None], seconds: float | None, names: list[str]
) -> None:
    """Await something that waits for slots.

    Args:
        waiting: What to await.
        seconds: For how long at most; None for as long as it takes.
        names: Of the limits.

    Raises:
        LimitTimeout: The time is over.
    """
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        raise LimitTimeout(
            f"no slot of {', '.join(map(repr, names))} was free within {seconds:g} seconds"
        ) from None
