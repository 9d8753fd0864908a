"""The limits that have names, and who holds their slots."""

import asyncio
from typing import NamedTuple

from jtask.client import get_client
from jtask.contract import SlotHolder
from jtask.ids import is_run_id
from jtask_console.live.hub import CLOCK, LIMITS, RUNS
from jtask_console.pages.page import Asked, Facts, Page, always
from jtask_limits.definitions import Limit, limits_of, slot_name

_PERIODS = {1.0: "second", 60.0: "minute", 3600.0: "hour"}


class Holder(NamedTuple):
    """Who holds a slot: a run, or a block of code."""

    name: str
    is_run: bool
    until: float


class LimitRow(NamedTuple):
    """A limit, as the page shows it.

    Attributes:
        limit: As it is kept.
        period: In words, of a rate; empty for a limit of what happens at once.
        holders: Who has its slots, those first whose leases end first.
    """

    limit: Limit
    period: str
    holders: list[Holder]


async def find_limits() -> list[LimitRow]:
    """Return all limits that have names, by name.

    Raises:
        BrokerError: The broker cannot be asked.
    """
    client = get_client()
    limits = await client.bridge(limits_of(client.broker).list())
    slots = client.broker.slots
    holders = await asyncio.gather(
        *(client.bridge(slots.holders(slot_name(limit.name))) for limit in limits)
    )
    return [_row(limit, held) for limit, held in zip(limits, holders, strict=True)]


def _row(limit: Limit, holders: list[SlotHolder]) -> LimitRow:
    period = "" if limit.per is None else _PERIODS.get(limit.per, f"{limit.per:g} s")
    found = [Holder(one.holder, is_run_id(one.holder), one.until) for one in holders]
    return LimitRow(limit, period, sorted(found, key=lambda one: one.until))


async def _facts(asked: Asked) -> Facts:
    del asked
    return {"title": "Limits", "section": "limits", "limits": await find_limits()}


PAGE = Page("/limits", "limits.html", _facts, always(LIMITS, RUNS, CLOCK), ("limits",))
