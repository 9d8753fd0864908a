"""Which limits a run has, and that it starts with a slot of each."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from jtask.client import get_client, slot_of
from jtask.client.slot_news import tell_freed
from jtask.errors import BrokerError, RunRefused
from jtask.lifecycle import Park, Retry, describe
from jtask_limits.applying import NOTE
from jtask_limits.definitions import limits_of, slot_name

if TYPE_CHECKING:
    from jtask.runtime import RunContext

_LONGEST_WAIT = 600.0  # seconds until a run that nobody wakes looks for itself
_MOMENT = 0.02  # seconds in which another run gives up what it has
_PAUSE = 1.0  # seconds until a broker that does not answer is asked again
_LONGEST_KEY = 100  # characters that stay readable in the name of a slot
_log = logging.getLogger("jtask")


class Slot(NamedTuple):
    """What a run needs a slot of.

    Attributes:
        name: What the slots are called.
        limit: How many there are.
        about: For people.
        known_as: The name of its limit; None for that of a task. Blocks of code may wait for it
            too, and it may be changed at any time.
    """

    name: str
    limit: int
    about: str
    known_as: str | None = None

    async def now(self) -> int:
        """Return how many there are now."""
        if self.known_as is None:
            return self.limit
        client = get_client()
        return await client.io.bridge(limits_of(client.broker).slots_now(self.known_as))


async def admit(run: "RunContext") -> Retry | Park | None:
    """Let a run start if it gets a slot of each of its limits; else it gets none."""
    run.notes[NOTE] = taken = list[Slot]()
    try:
        for slot in await _slots_of(run):
            # Before the answer is known: it may be lost.
            taken.append(slot)
            if not await _take(slot, run, others=taken[:-1]):
                taken.pop()
                await give_back(run)
                return _parked(slot)
    except BrokerError as error:
        # Not admitted: a limit that counts only while all is well is none.
        await give_back(run)
        return Retry(time.time() + _PAUSE, describe(error))
    return None


async def give_back(run: "RunContext") -> None:
    """Hand on the slots that a run has, or that were taken in its name."""
    slots = get_client().slots
    # One that was lost, or woken, was admitted elsewhere or not at all.
    held: list[Slot] = run.notes[NOTE] if NOTE in run.notes else _possible_slots(run)
    run.notes[NOTE] = []
    for slot in held:
        try:
            await slots.give_back(
                slot.name,
                run.run_id,
                await slot.now(),
                run.token,
                is_fixed=slot.known_as is None,
            )
            if slot.known_as is not None:
                await tell_freed(get_client(), slot.name)
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
        time.time() + _LONGEST_WAIT,
        f"the limit of {slot.about} is {slot.limit}",
        lambda: slots.watch(slot.name, slot.now),
    )


async def _slots_of(run: "RunContext") -> list[Slot]:
    """Return what a run needs: first what it was woken with, the others in one order for all."""
    found = [*_own_slots(run)]
    client = get_client()

    async def of_tags() -> list[Slot]:
        limits = limits_of(client.broker)
        named = [await limits.find(f"tag:{tag}") for tag in run.tags]
        return [
            Slot(slot_name(limit.name), limit.slots, repr(limit.name), limit.name)
            for limit in named
            if limit is not None and limit.per is None
        ]

    if run.tags and run.queue is not None:
        found += await client.io.bridge(of_tags())
    return sorted(found, key=lambda slot: (slot_of(run.token, slot.name) is None, slot.name))


def _possible_slots(run: "RunContext") -> list[Slot]:
    """Return what a run may have: limits of its tags may have been removed meanwhile."""
    names = [f"tag:{tag}" for tag in run.tags]
    return [*_own_slots(run), *(Slot(slot_name(name), 0, repr(name), name) for name in names)]


def _own_slots(run: "RunContext") -> list[Slot]:
    limit: int | None = run.task.options["limit"]  # type: ignore[assignment]
    if limit is None:
        return []
    name, about = f"limit-task-{run.task.key}", f"task {run.task.name!r}"
    if (key := _key_of(run)) is not None:
        name, about = f"{name}-{_bounded(key)}", f"{about} for {key!r}"
    return [Slot(_bounded(name, 190), limit, about)]


def _key_of(run: "RunContext") -> str | None:
    wanted: object = run.task.options["limit_key"]
    try:
        if isinstance(wanted, str):
            return wanted.format(**run.parameters)
        return str(wanted(run, run.parameters)) if callable(wanted) else None
    except Exception as error:
        # Without a key it would be limited by nothing.
        raise RunRefused(f"its limit_key makes no key: {describe(error)}") from error


def _bounded(text: str, most: int = _LONGEST_KEY) -> str:
    if len(text) <= most:
        return text
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
