"""When a schedule's runs are due: from its options alone, so that all processes agree."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from jtask.numbers import is_number
from jtask_schedules.cron_lines import dates_of, problem_of

SHORTEST_INTERVAL = 1.0  # seconds
LONGEST_INTERVAL = 10 * 366 * 86_400.0  # seconds
_LONGEST_GRACE = 60.0  # seconds; a busy worker may take a moment


@dataclass(frozen=True, slots=True)
class Trigger:
    """The instants at which a schedule's runs are due, in seconds since the epoch.

    Attributes:
        cron: Five fields, as `check_cron` returns them; None with an interval.
        every: Seconds between two runs; None with a cron line.
        timezone: Where the cron line's clock hangs.
        seed: Shifts the instants of an interval, so that not all schedules are due at once.
    """

    cron: str | None
    every: float | None
    timezone: str
    seed: str

    def next_after(self, instant: float) -> float:
        """Return the first instant after another one."""
        return next(self.instants_after(instant))

    def instants_after(self, instant: float) -> Iterator[float]:
        """Yield all instants after another one."""
        return self._intervals(instant) if self.cron is None else self._cron(self.cron, instant)

    def first_after(self, instant: float, count: int) -> list[float]:
        """Return some instants after another one."""
        return list(islice(self.instants_after(instant), count))

    def grace(self, instant: float) -> float:
        """Return for how many seconds a run that is due at an instant is not late.

        Never beyond the next instant: then the next run is as good.
        """
        return min(_LONGEST_GRACE, self.next_after(instant) - instant)

    def describe(self) -> str:
        """Return the options in few words."""
        return f"every {self.every:g} s" if self.cron is None else self.cron

    def _cron(self, cron: str, instant: float) -> Iterator[float]:
        begin = datetime.fromtimestamp(instant, UTC).astimezone(ZoneInfo(self.timezone))
        return (due.timestamp() for due in dates_of(cron, begin) if due.timestamp() > instant)

    def _intervals(self, instant: float) -> Iterator[float]:
        # In whole milliseconds, so that every process comes to the same numbers: sums of floats
        # differ in their last bits, and each of those would be a run of its own.
        step = round((self.every or SHORTEST_INTERVAL) * 1000)
        offset = int(hashlib.sha256(self.seed.encode()).hexdigest()[:12], 16) % step
        due = (int(instant * 1000) - offset) // step * step + offset
        while True:
            if due / 1000 > instant:
                yield due / 1000
            due += step


def check_cron(value: object) -> str | None:
    """Return a cron line, single blanks between its fields.

    Raises:
        ValueError: It is none, and why.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"must be a string such as '*/5 * * * *', got {value!r}")
    # Blanks are part of the declaration's version: more of them must not make another schedule.
    line = " ".join(value.split())
    if (problem := problem_of(line)) is not None:
        raise ValueError(f"{value!r} is not a cron line: {problem}")
    return line


def check_timezone(value: object) -> str | None:
    """Return the name of a time zone.

    Raises:
        ValueError: There is no such zone.
    """
    if value is None:
        return None
    try:
        return ZoneInfo(str(value)).key
    except (OSError, ValueError, LookupError):
        raise ValueError(f"there is no time zone {value!r}: use a name such as 'UTC'") from None


def check_every(value: object) -> float | None:
    """Return an interval in seconds.

    Raises:
        ValueError: Neither seconds nor a timedelta, or too short.
    """
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not is_number(seconds):
        raise ValueError(f"must be seconds or a timedelta, got {value!r}")
    if not SHORTEST_INTERVAL <= seconds <= LONGEST_INTERVAL:
        raise ValueError(f"must be at least 1 second and at most 10 years, got {value!r}")
    return round(float(seconds), 3)


def check_missed(value: object) -> str:
    """Return what becomes of runs that came too late.

    Raises:
        ValueError: Another word.
    """
    if value not in ("coalesce", "skip"):
        raise ValueError(f"must be 'coalesce' or 'skip', got {value!r}")
    return str(value)
