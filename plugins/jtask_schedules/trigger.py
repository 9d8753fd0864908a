"""When a schedule's runs are due: from its options alone, so that all processes agree."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from jtask.numbers import is_number

SHORTEST_INTERVAL = 1.0  # seconds
LONGEST_INTERVAL = 10 * 366 * 86_400.0  # seconds
_CRON_FIELDS = 5
_UP_TO_SUNDAY = re.compile(r"-SUN\b", re.IGNORECASE)
_ZERO_STEP = re.compile(r"/0+(?!\d)")
_LONGEST_GRACE = 60.0  # seconds; a busy worker may take a moment
# What CronSim says names the field; what may stand there is more use to whoever mistyped it.
_HINTS = {
    "Wrong number of fields": "it needs five fields: minute, hour, day, month, weekday",
    "Bad minute": "the minutes must be from 0 to 59",
    "Bad hour": "the hours must be from 0 to 23",
    "Bad day-of-month": "there must be such a day in such a month",
    "Bad month": "the months must be from 1 to 12, or JAN to DEC",
    "Bad day-of-week": "the weekdays must be from 0 to 7, or MON to SUN",
}


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
        return (due.timestamp() for due in _dates(cron, begin) if due.timestamp() > instant)

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
    try:
        if len(line.split()) != _CRON_FIELDS:
            raise CronSimError("Wrong number of fields")
        # From a fixed day, so that a line is not valid today and wrong tomorrow: CronSim looks 50
        # years ahead and then stops.
        next(_dates(line, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        problem = _HINTS.get(str(error), str(error))
        if _ZERO_STEP.search(line):
            problem = "a step must be at least 1"
        raise ValueError(f"{value!r} is not a cron line: {problem}") from None
    except StopIteration:
        raise ValueError(f"{value!r} is not a cron line: it never matches a date") from None
    return line


def _dates(line: str, begin: datetime) -> Iterator[datetime]:
    # For CronSim a week that is written in names begins with Sunday: SAT-SUN would go backwards.
    return CronSim(_UP_TO_SUNDAY.sub("-7", line), begin)


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
