"""Which run has a key: one record for each, changed only over the revision that was read."""

import json
import time
from dataclasses import dataclass, replace
from typing import NamedTuple

from jtask.contract import DEFAULT_PRIORITY, TOP_PRIORITY, Broker, is_name
from jtask.ids import is_run_id
from jtask.wire.fields import finite, known_fields
from jtask_once.keys import Key
from jtask_once.turns import turns_at

BUCKET = "once"
FORGOTTEN_AFTER = 366 * 86_400.0
"""Seconds until the record of a key goes by itself that nobody has let go of and nobody wants."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What the record of a key says.

    Attributes:
        run_id: The run that has the key.
        at: Since when, seconds since the epoch.
        is_sealed: Whether the run is known to have been stored: nobody takes its place before it is
            over.
        queue: Where a debounced run waits.
        priority: Of a debounced run.
    """

    run_id: str
    at: float
    is_sealed: bool = False
    queue: str = ""
    priority: int = DEFAULT_PRIORITY

    def sealed(self) -> "Reservation":
        """Return it with the run known to have been stored."""
        return replace(self, is_sealed=True)

    def encode(self) -> bytes:
        """Return the record's body."""
        facts: dict[str, object] = {"run_id": self.run_id, "at": self.at}
        if self.is_sealed:
            facts["sealed"] = True
        if self.queue:
            facts |= {"queue": self.queue, "priority": self.priority}
        return json.dumps(facts).encode()

    @classmethod
    def decode(cls, body: bytes) -> "Reservation | None":
        """Return what a record says; None when that names no run."""
        facts = known_fields(body)
        run_id, queue = str(facts.get("run_id", "")), str(facts.get("queue", ""))
        priority: object = facts.get("priority")
        if not is_run_id(run_id):
            return None
        return cls(
            run_id,
            finite(facts.get("at")) or 0.0,
            facts.get("sealed") is True,
            queue if is_name(queue) else "",
            priority if isinstance(priority, int) and 0 <= priority <= TOP_PRIORITY else 0,
        )


class Found(NamedTuple):
    """A record as it was read.

    Attributes:
        reservation: What it says; None for one that names no run, or that is not there.
        revision: Of the record; 0 when it is not there.
    """

    reservation: Reservation | None
    revision: int

    def names(self, run_id: str) -> bool:
        """Tell whether a run has the key."""
        return self.reservation is not None and self.reservation.run_id == run_id


class Reservations:
    """The records of all keys of a namespace; on the I/O loop.

    Args:
        broker: Where they are.
    """

    def __init__(self, broker: Broker) -> None:
        self._records = broker.records
        self._turns = turns_at(broker)

    async def find(self, key: Key) -> Found:
        """Return who has a key."""
        async with self._turns:
            record = await self._records.get(BUCKET, key.name)
        if record is None:
            return Found(None, 0)
        return Found(Reservation.decode(record.body), record.revision)

    async def put(
        self, key: Key, reservation: Reservation, revision: int, ttl: float = FORGOTTEN_AFTER
    ) -> bool:
        """Give a key to a run; False when somebody has changed its record meanwhile.

        Args:
            key: The key.
            reservation: Who has it from now on.
            revision: The one that was read; 0 for no record.
            ttl: Seconds after which the record may go by itself.
        """
        body = reservation.encode()
        async with self._turns:
            return await self._records.put(BUCKET, key.name, body, revision=revision, ttl=ttl)

    async def seal(self, key: Key, run_id: str, *, is_wanted: bool) -> str | None:
        """Make sure that a run has its key until it is over.

        Args:
            key: The key, which was claimed for the run.
            run_id: The run, which is stored.
            is_wanted: Whether to take the key if nobody has it any more.

        Returns:
            str | None: The run that has it instead; None when this one has it.
        """
        while True:
            reservation, revision = await self.find(key)
            if reservation is None:
                if not is_wanted:
                    return None
                reservation = Reservation(run_id, time.time())
            if reservation.run_id != run_id:
                return reservation.run_id
            if reservation.is_sealed or await self.put(key, reservation.sealed(), revision):
                return None

    async def let_go(self, key: Key, run_id: str) -> None:
        """Delete the record of a key if a run has it."""
        found = await self.find(key)
        if found.names(run_id):
            async with self._turns:
                await self._records.delete(BUCKET, key.name, revision=found.revision)

    async def keep_for(self, key: Key, run_id: str, seconds: float) -> None:
        """Let the record of a key go by itself after some seconds if a run has it."""
        reservation, revision = await self.find(key)
        if reservation is not None and reservation.run_id == run_id:
            await self.put(key, reservation.sealed(), revision, seconds)
