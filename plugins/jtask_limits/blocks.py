"""Limits around a block of code, in a task or anywhere else: `concurrency`."""

import asyncio
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from jtask.errors import BrokerError
from jtask.randomness import RANDOM
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

_LOOK_SECONDS = 15.0  # the longest wait without news: who had a slot may have been lost with it
_AGAIN = (0.01, 0.05)  # seconds
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
        self._names = checked_names(names)
        self._occupy = checked_occupy(occupy)
        self._timeout = checked_timeout(timeout_seconds)
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
        limits = await find_limits(client, self._names, self._occupy, strict=self._strict)
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
            await within(waiting, self._timeout, self._names)
        except BaseException:
            await _leave(client, held)
            raise
        return held


async def _wait(
    client: "Client", wanted: "list[_Wanted]", occupy: int, held: "list[_Wanted]"
) -> None:
    from jtask.client.slot_news import take_when_freed

    async def patience(_: str) -> float:
        return _LOOK_SECONDS

    await take_when_freed(client, lambda: _take_all(client, wanted, occupy, held), patience)


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

    # Whatever becomes of the slots: what the block has done is done.
    for one in held:
        try:
            slots = await one.slots_now(client)
            await client.slots.give_back(one.slot_name, one.holder, slots, is_fixed=False)
        except BrokerError as error:
            _log.debug("a slot of %r is given back by its lease only: %s", one.limit.name, error)
    for name in {one.slot_name for one in held}:
        try:
            await tell_freed(client, name)
        except BrokerError as error:
            _log.debug("nobody was told that a slot of %r is free: %s", name, error)


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
