"""Limits around a block of code, in a task or anywhere else: `concurrency`, `rate_limit`."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from jtask.errors import LimitNotFound, LimitTimeout
from jtask.randomness import RANDOM
from jtask.rate_limited_log import RateLimitedLog

if TYPE_CHECKING:
    from jtask.client import Client
    from jtask_limits.definitions import Limit

_LOOK_SECONDS = 15.0  # the longest wait without news: who had a slot may have been lost with it
_AGAIN = (0.01, 0.05)  # seconds
_SOON = 0.01  # seconds, so that a slot whose lease ends just now is free
_unknown = RateLimitedLog(60.0)
_log = logging.getLogger("jtask")


class concurrency:  # noqa: N801 - it reads as a verb: `with concurrency("db"):`
    """Hold slots of limits with names while a block executes.

    To be used with `with` or `async with`, in tasks and elsewhere, also several times at once. A
    block that must wait is woken when a slot is freed. Within a process those who came first go
    first; runs that are parked for the same limit go before all of them.

    Args:
        names: Of the limits; a slot of each is held, or of none.
        occupy: How many slots of each.
        timeout_seconds: How long to wait for them at most; None waits as long as it takes.
        strict: Raise where there is no such limit. Otherwise the block executes, with a warning.

    Raises:
        ValueError: `occupy` is not a whole number of at least 1, or more than a limit has; or a
            limit is one of a rate.
        LimitTimeout: The time is over.
        LimitNotFound: With `strict`, there is no such limit.
        BrokerError: The broker does not answer.
    """

    def __init__(
        self,
        names: str | Sequence[str],
        occupy: int = 1,
        *,
        timeout_seconds: float | None = None,
        strict: bool = False,
    ) -> None:
        self._names = _names(names)
        self._occupy = _checked(occupy)
        self._timeout = timeout_seconds
        self._strict = strict
        self._entered: list[list[_Wanted]] = []
        """What each block holds that is entered and not left. They hold the same, so each may leave
        with what another entered with."""

    def __enter__(self) -> None:
        from jtask.client import get_client

        client = get_client()
        self._entered.append(client.io.run(self._enter(client)))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        from jtask.client import get_client

        client = get_client()
        client.io.run(_leave(client, self._entered.pop()))

    async def __aenter__(self) -> None:
        from jtask.client import get_client

        client = get_client()
        self._entered.append(await client.io.bridge(self._enter(client)))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        from jtask.client import get_client

        client = get_client()
        await client.io.bridge(_leave(client, self._entered.pop()))

    async def _enter(self, client: "Client") -> "list[_Wanted]":
        limits = await _find(client, self._names, self._occupy, strict=self._strict)
        for limit in limits:
            if limit.per is not None:
                raise ValueError(f"the limit {limit.name!r} is a rate: use rate_limit")
        holder = f"block-{client.ids.new()}"
        wanted = [
            _Wanted(limit, f"{holder}-{number}")
            for limit in limits
            for number in range(self._occupy)
        ]
        held: list[_Wanted] = []
        try:
            waiting = _wait(client, wanted, self._occupy, held)
            await _until(waiting, self._timeout, self._names)
        except BaseException:
            await _leave(client, held)
            raise
        return held


async def _wait(
    client: "Client", wanted: "list[_Wanted]", occupy: int, held: "list[_Wanted]"
) -> None:
    from jtask.client.slot_news import slot_news_of

    lacking = await _take_all(client, wanted, occupy, held)
    if lacking is None:
        return
    news, event = slot_news_of(client), asyncio.Event()
    await news.listen()
    try:
        while lacking is not None:
            news.add(lacking, event)
            # What was freed before that was not heard.
            lacking = await _take_all(client, wanted, occupy, held)
            if lacking is not None:
                await news.wait(event, _LOOK_SECONDS)
    finally:
        news.forget(event)


async def _take_all(
    client: "Client", wanted: "list[_Wanted]", occupy: int, held: "list[_Wanted]"
) -> str | None:
    """Take all slots or none; return the name of those of which there are too few."""
    # Looked at first: who takes some and gives them back wakes others for nothing.
    for one in wanted[::occupy]:
        taken = await client.broker.slots.holders(one.slot_name)
        if await one.slots_now(client) - len(taken) < occupy:
            return one.slot_name
    for one in wanted:
        # Before the answer is known: it may be lost.
        held.append(one)
        slots = await one.slots_now(client)
        if not await client.slots.take(one.slot_name, one.holder, slots):
            held.pop()
            await _leave(client, held)
            held.clear()
            # Somebody else was quicker. Not at the same moment as those who hear of this.
            await asyncio.sleep(RANDOM.uniform(*_AGAIN))
            return one.slot_name
    return None


async def _leave(client: "Client", held: "list[_Wanted]") -> None:
    from jtask.client.slot_news import tell_freed

    for one in held:
        slots = await one.slots_now(client)
        await client.slots.give_back(one.slot_name, one.holder, slots, is_fixed=False)
    for name in {one.slot_name for one in held}:
        await tell_freed(client, name)


class _Wanted(NamedTuple):
    limit: "Limit"
    holder: str

    @property
    def slot_name(self) -> str:
        from jtask_limits.definitions import slot_name

        return slot_name(self.limit.name)

    async def slots_now(self, client: "Client") -> int:
        """Return how many slots there are now: the limit may have been changed."""
        from jtask_limits.definitions import limits_of

        return await limits_of(client.broker).slots_now(self.limit.name)


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

    client = get_client()
    client.io.run(
        _wait_for_rates(client, _names(names), _checked(occupy), timeout_seconds, strict=strict)
    )


async def arate_limit(
    names: str | Sequence[str],
    occupy: int = 1,
    *,
    timeout_seconds: float | None = None,
    strict: bool = False,
) -> None:
    """Do `rate_limit` on an event loop."""
    from jtask.client import get_client

    client = get_client()
    await client.io.bridge(
        _wait_for_rates(client, _names(names), _checked(occupy), timeout_seconds, strict=strict)
    )


async def _wait_for_rates(
    client: "Client",
    names: list[str],
    occupy: int,
    timeout_seconds: float | None,
    *,
    strict: bool,
) -> None:
    limits = await _find(client, names, occupy, strict=strict)
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

    await _until(begin_all(), timeout_seconds, names)


async def _begin(client: "Client", limit: "Limit") -> None:
    """Take a slot that is never given back: its lease is the window in which it counts."""
    from jtask_limits.definitions import slot_name

    slots, name = client.broker.slots, slot_name(limit.name)
    count, seconds = limit.window()
    while not await slots.acquire(name, f"rate-{client.ids.new()}", count, seconds):
        ends = [one.until for one in await slots.holders(name)]
        left = min(ends, default=0.0) - time.time()
        await asyncio.sleep(min(max(left, 0.0) + _SOON, seconds))


async def _find(client: "Client", names: list[str], occupy: int, *, strict: bool) -> "list[Limit]":
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


async def _until(
    waiting: Coroutine[Any, Any, None], seconds: float | None, names: list[str]
) -> None:
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        raise LimitTimeout(
            f"no slot of {', '.join(map(repr, names))} was free within {seconds:g} seconds"
        ) from None


def _names(names: str | Sequence[str]) -> list[str]:
    # In the same order for all, so that two never wait for each other.
    return sorted({names} if isinstance(names, str) else set(names))


def _checked(occupy: object) -> int:
    if not isinstance(occupy, int) or isinstance(occupy, bool) or occupy < 1:
        raise ValueError(f"occupy must be a whole number of at least 1, got {occupy!r}")
    return occupy
