"""Which limits a run has, and that it starts with a slot of each."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

from jtask.client import get_client, slot_of
from jtask.client.slot_news import tell_freed
from jtask.errors import BrokerError, RunRefused
from jtask.lifecycle import Park, Retry
from jtask_limits.applying import NOTE
from jtask_limits.definitions import Limit, limits_of, slot_name
from jtask_limits.slots import Slot, handed_slots, own_slots

if TYPE_CHECKING:
    from jtask.runtime import RunContext

LONGEST_WAIT = 600.0
"""Seconds until a run that nobody wakes looks for itself."""
_MOMENT = 0.02  # seconds in which another run gives up what it has
_log = logging.getLogger("jtask")


def needs_no_slot(run: "RunContext") -> bool:
    """Tell of a run that it has no limits, as nearly all with tags, and note that it has no slot.

    Nobody is asked: to wait for an answer takes longer than all else of a short run. False as well
    where that would have to be.
    """
    if run.task.options["limit"] is not None or run.token is not None:
        return False
    named = limits_of(get_client().broker).known(_names_by_tags(run))
    if named is None or any(map(_gives_slots, named)):
        return False
    run.notes[NOTE] = list[Slot]()
    return True


async def admit(run: "RunContext") -> Retry | Park | None:
    """Let a run start if it gets a slot of each of its limits; else it gets none.

    Raises:
        RunRefused: It would wait for those that it is called by.
        BrokerError: The broker cannot tell.
    """
    run.notes[NOTE] = taken = list[Slot]()
    try:
        wanted = await _slots_of(run)
        await _hand_on(run, _handed_for_nothing(run, wanted))
        for slot in wanted:
            _check_callers(slot, run)
            # Before the answer is known: it may be lost.
            taken.append(slot)
            if not await _take(slot, run, others=taken[:-1]):
                taken.pop()
                await give_back(run)
                return _parked(slot)
    except BrokerError:
        await give_back(run)
        raise
    return None


def _check_callers(slot: Slot, run: "RunContext") -> None:
    """Refuse a direct call that would wait for those whose functions it is called by."""
    holding = 0
    for caller in run.callers():
        # What a run has is noted in the worker, and this may be its child process.
        held: list[Slot] = own_slots(caller) if caller.is_copy else caller.notes.get(NOTE, [])
        holding += slot.name in [one.name for one in held]
    if holding >= slot.limit > 0:
        raise RunRefused(
            f"the limit of {slot.about} is {slot.limit}, and the runs that this one is called by "
            f"hold all of it: call the function itself, with .fn()"
        )


async def give_back(run: "RunContext") -> None:
    """Hand on the slots that a run has, or that were taken in its name."""
    # One that was lost, or woken, was admitted elsewhere or not at all.
    held: list[Slot] = run.notes[NOTE] if NOTE in run.notes else _possible_slots(run)
    run.notes[NOTE] = []
    await _hand_on(run, held)


async def _hand_on(run: "RunContext", held: Sequence[Slot]) -> None:
    for slot in held:
        try:
            client = get_client()
            await client.slots.give_back(
                slot.name,
                run.run_id,
                await slot.now(),
                run.token,
                is_fixed=slot.known_as is None,
            )
            if slot.known_as is not None:
                await tell_freed(client, slot.name)
        except BrokerError as error:
            _log.debug("a slot of %s is given back by its lease only: %s", slot.about, error)


async def _take(slot: Slot, run: "RunContext", others: Sequence[Slot]) -> bool:
    """Take one slot more, beside others that the run has."""
    if await _take_now(slot, run):
        return True
    # Of two runs, each with a slot that the other one lacks, one gives up at once and one a moment
    # later. Or both would, and get what the other had, and so on.
    if not others or any(other.name > slot.name for other in others):
        return False
    await asyncio.sleep(_MOMENT)
    return await _take_now(slot, run)


async def _take_now(slot: Slot, run: "RunContext") -> bool:
    slots = get_client().slots
    if await slots.take_or_park(slot.name, run.run_id, slot.limit, run.token):
        return True
    # It may have been raised or removed a moment ago.
    now = await slot.now()
    return now > slot.limit and await slots.take_or_park(slot.name, run.run_id, now)


def _parked(slot: Slot) -> Park:
    slots = get_client().slots
    return Park(
        slot.name,
        time.time() + LONGEST_WAIT,
        f"the limit of {slot.about} is {slot.limit}",
        lambda: slots.watch(slot.name, slot.now),
    )


async def _slots_of(run: "RunContext") -> list[Slot]:
    """Return what a run needs: first what it was woken with, the others in one order for all."""
    found = own_slots(run)
    client = get_client()

    async def of_tags() -> list[Slot]:
        limits = limits_of(client.broker)
        named = [await limits.find(name) for name in _names_by_tags(run)]
        return [
            Slot(slot_name(limit.name), limit.slots, repr(limit.name), limit.name)
            for limit in named
            if _gives_slots(limit)
        ]

    if run.tags and run.queue is not None:
        found += await client.io.bridge(of_tags())
    return sorted(found, key=lambda slot: (slot_of(run.token, slot.name) is None, slot.name))


def _handed_for_nothing(run: "RunContext", wanted: Sequence[Slot]) -> list[Slot]:
    """Return the slot that a run was woken with, if its limit has been removed since."""
    if run.token is None or any(slot_of(run.token, slot.name) for slot in wanted):
        return []
    return [slot for slot in _possible_slots(run) if slot_of(run.token, slot.name)]


def _possible_slots(run: "RunContext") -> list[Slot]:
    """Return what a run may have: limits of its tags may have been removed meanwhile."""
    slots = (Slot(slot_name(name), 0, repr(name), name) for name in _names_by_tags(run))
    return [*_own_or_handed(run), *slots]


def _names_by_tags(run: "RunContext") -> list[str]:
    return [f"tag:{tag}" for tag in run.tags]


def _gives_slots(limit: Limit | None) -> TypeGuard[Limit]:
    return limit is not None and limit.per is None


def _own_or_handed(run: "RunContext") -> list[Slot]:
    try:
        return own_slots(run)
    except RunRefused:
        # Of a run that did not start here the arguments are not read, nor so its key. What it was
        # woken with says its slot; another one ends with its lease.
        return handed_slots(run)
