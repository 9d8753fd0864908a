"""Whether the run that has a key still counts, and who may take its place."""

import asyncio
import time
from enum import Enum, auto

from jtask.contract import Broker
from jtask.ids import created_at
from jtask.settings import get_settings
from jtask_once.keys import Kind
from jtask_once.reservations import Reservation
from jtask_once.turns import turns_at

PATIENCE = 1.0
"""Seconds for which a key is left to a run that is nowhere to be found: whoever reserved it may be
about to store the run."""
_SEALED_PATIENCE = 0.2  # seconds; it was stored, and may be on its way from one place to another
_FIRST_PAUSE = 0.01  # seconds until somebody looks again
_LONGEST_PAUSE = 0.1


class Standing(Enum):
    """Where a run stands, as far as keys are concerned."""

    ALIVE = auto()
    """It waits, or is executed, or comes again."""
    ENDED = auto()
    """It has an outcome."""
    NOWHERE = auto()
    """Neither."""


class Verdict(Enum):
    """What becomes of a key that a run has."""

    HELD = auto()
    """It is that run's."""
    FREE = auto()
    """Another one may have it."""
    UNSETTLED = auto()
    """Look again in a moment."""


async def standing_of(broker: Broker, run_id: str) -> Standing:
    """Return where a run stands; three round trips at most, one for most.

    Args:
        broker: Where the run is.
        run_id: The run.

    Raises:
        BrokerError: The broker does not answer.
    """
    async with turns_at(broker):
        asking = broker.results.get(run_id), broker.queues.find(run_id)
        outcome, waiting = await asyncio.gather(*asking)
        # First: a run that has ended may still be on its queue.
        if outcome is None and waiting is None:
            # That proves nothing yet; and it may have ended, and left its queue, meanwhile.
            place = await broker.queues.locate(run_id)
            waiting = None if place is None else place.run
            outcome = None if place is not None else await broker.results.get(run_id)
    if outcome is None and waiting is not None:
        return Standing.ALIVE
    return Standing.NOWHERE if outcome is None else Standing.ENDED


def judge(kind: Kind, held: Reservation, standing: Standing, waited: float, now: float) -> Verdict:
    """Decide what becomes of a key.

    Args:
        kind: What the key is for.
        held: Which run has it.
        standing: Where that run stands.
        waited: For how many seconds the run had been waited for before one looked.
        now: The present instant.
    """
    if standing is Standing.ALIVE:
        return Verdict.HELD
    if standing is Standing.ENDED:
        return Verdict.HELD if kind is Kind.IDEMPOTENCY else Verdict.FREE
    # So old that its outcome may be gone.
    if created_at(held.run_id) + get_settings().result_ttl < now:
        return Verdict.FREE
    patience = _SEALED_PATIENCE if held.is_sealed else PATIENCE
    return Verdict.UNSETTLED if waited < patience else Verdict.FREE


class Patience:
    """How long one waits for the run that has a key, by one's own clock alone."""

    def __init__(self) -> None:
        self._run_id = ""
        self._since = 0.0
        self._pause = _FIRST_PAUSE

    def waited_for(self, run_id: str) -> float:
        """Return for how many seconds a run is known to have the key; begins with 0."""
        now = time.monotonic()
        if run_id != self._run_id:
            self._run_id, self._since, self._pause = run_id, now, _FIRST_PAUSE
        return now - self._since

    async def pause(self) -> None:
        """Wait before one looks again, longer each time."""
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
