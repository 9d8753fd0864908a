"""Limits that have a name: made, changed and removed while everything runs."""

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from jtask.contract import Broker, KeyValueStore
from jtask.durations import LONGEST
from jtask.foreign_text import quoted
from jtask.numbers import is_within
from jtask.wire.fields import known_fields

BUCKET = "limits"
_FRESH_SECONDS = 1.0
"""How long a process takes what it has read for true."""
_NEVER = (-math.inf, None)


def is_limit_name(name: object) -> bool:
    """Tell whether a limit may have a name."""
    return isinstance(name, str) and 0 < len(name) <= 100 and name.isprintable()


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit with a name.

    Attributes:
        name: Its name; that of a tag's is `tag:<tag>`.
        slots: How many hold it at once; of a rate, how many begin within `per` seconds.
        per: Seconds, of a rate; None for a limit of what happens at once.
        burst: Of a rate: how many may begin at the same moment.
    """

    name: str
    slots: int
    per: float | None = None
    burst: int | None = None

    def check(self) -> None:
        """Refuse what would not be read as a limit, and a rate of a tag, for which nobody waits.

        Raises:
            ValueError: It is such a thing.
        """
        # The fields may be anything, for no type checker has to have seen them.
        if not is_limit_name(self.name):
            raise ValueError(
                "the name of a limit must be a text of 1 to 100 printable characters, "
                f"got {quoted(self.name)}"
            )
        about = f"the limit {self.name!r}"
        least = 0 if self.per is None else 1
        if not is_within(self.slots, least, whole=True):
            raise ValueError(
                f"{about} must have a whole number of slots, {least} or more, got {self.slots!r}"
            )
        if self.per is not None and not is_within(self.per, 0.001, LONGEST):
            raise ValueError(f"{about}: `per` is a number of seconds, such as 60, got {self.per!r}")
        if self.burst is not None and self.per is None:
            raise ValueError(f"{about}: `burst` is for rates: give `per` too")
        if self.burst is not None and not is_within(self.burst, 1, whole=True):
            raise ValueError(
                f"{about}: `burst` must be a whole number of at least 1, got {self.burst!r}"
            )
        if self.per is not None and self.name.startswith("tag:"):
            raise ValueError(
                f"{self.name!r} cannot be a rate, because the limit of a tag is how many runs "
                f"execute at once: give the rate another name, and call rate_limit(name) inside"
            )

    def window(self) -> tuple[int, float]:
        """Return how many may begin within how many whole seconds, of a rate.

        A broker keeps a slot for whole seconds. A shorter window is lengthened, and more fit in.
        """
        assert self.per is not None
        burst = self.slots if self.burst is None else self.burst
        seconds = max(1.0, math.ceil(self.per * burst / self.slots))
        return max(1, math.floor(self.slots * seconds / self.per)), seconds

    def encode(self) -> bytes:
        """Return the record's body."""
        return json.dumps({"slots": self.slots, "per": self.per, "burst": self.burst}).encode()

    @classmethod
    def decode(cls, name: str, body: bytes) -> "Limit | None":
        """Return what a record holds; None when it cannot be read."""
        head: Mapping[str, Any] = known_fields(body)
        try:
            per, burst = head.get("per"), head.get("burst")
            return cls(
                name,
                max(0, int(head["slots"])),
                None if per is None else max(0.001, float(per)),
                None if burst is None else max(1, int(burst)),
            )
        except (ValueError, TypeError, KeyError, OverflowError):
            return None


class Limits:
    """The limits of a namespace; on the I/O loop.

    Args:
        records: Where they are kept.
    """

    def __init__(self, records: KeyValueStore) -> None:
        self._records = records
        self._read: dict[str, tuple[float, Limit | None]] = {}

    async def find(self, name: str, *, fresh: bool = False) -> Limit | None:
        """Return a limit as it was at most a second ago; None when there is none.

        Args:
            name: Its name.
            fresh: Whether to ask the broker in any case.

        Raises:
            BrokerError: The broker does not answer.
        """
        now = time.monotonic()
        at, known = self._read.get(name, _NEVER)
        if fresh or now - at > _FRESH_SECONDS:
            record = await self._records.get(BUCKET, name)
            known = None if record is None else Limit.decode(name, record.body)
            self._read = {n: found for n, found in self._read.items() if now - found[0] < 60}
            self._read[name] = (now, known)
        return known

    def known(self, names: Iterable[str]) -> Sequence[Limit | None] | None:
        """Return limits as `find` does, where nobody need be asked; from any thread.

        Returns:
            Sequence[Limit | None] | None: None when the broker has to be asked for one of them.
        """
        oldest = time.monotonic() - _FRESH_SECONDS
        found = [self._read.get(name, _NEVER) for name in names]
        return None if any(at < oldest for at, _ in found) else [limit for _, limit in found]

    async def slots_now(self, name: str) -> int:
        """Return how many slots there are of a limit, and `ENDLESS` where there is none.

        Raises:
            BrokerError: The broker does not answer.
        """
        limit = await self.find(name, fresh=True)
        return ENDLESS if limit is None else limit.slots

    async def put(self, limit: Limit, *, is_new: bool) -> bool:
        """Keep a limit; False when there is one and should not be."""
        revision = 0 if is_new else None
        return await self._records.put(BUCKET, limit.name, limit.encode(), revision=revision)

    async def change(self, limit: Limit) -> bool:
        """Keep a limit in the place of the one of its name; False when there is none."""
        if await self.find(limit.name, fresh=True) is None:
            return False
        return await self.put(limit, is_new=False)

    async def delete(self, name: str) -> bool:
        """Remove a limit; False when there is none."""
        return await self._records.delete(BUCKET, name)

    async def list(self) -> list[Limit]:
        """Return all limits, by name."""
        found = [Limit.decode(one.key, one.body) for one in await self._records.list(BUCKET)]
        return [limit for limit in found if limit is not None]


_limits: WeakKeyDictionary[Broker, Limits] = WeakKeyDictionary()


def limits_of(broker: Broker) -> Limits:
    """Return the limits that a broker keeps, made by the first use."""
    return _limits.setdefault(broker, Limits(broker.records))


ENDLESS = 1_000_000
"""Slots of a limit that there is no more: nobody waits for one."""


def slot_name(name: str) -> str:
    """Return what the slots of a limit with a name are called."""
    return f"limit-{name}"
