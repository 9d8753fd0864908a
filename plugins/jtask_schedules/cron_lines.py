"""Cron lines: their dates, and what is wrong with one that is none."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from cronsim import CronSim, CronSimError

# A fixed day, so that a line is not valid today and wrong tomorrow: CronSim looks 50 years ahead
# and then stops.
_BEGIN = datetime(2000, 1, 1, tzinfo=UTC)
_UP_TO_SUNDAY = re.compile(r"-SUN\b", re.IGNORECASE)
_RANGE = re.compile(r"(\w+)-(\w+)")
_STEP = re.compile(r".+/(\d+)")


class _Field(NamedTuple):
    """What may stand in one field.

    Attributes:
        plural: What it says.
        values: From what to what.
        size: How many values there are.
        first: The lowest value, and the name of it where there are names.
        last: The highest value, likewise.
    """

    plural: str
    values: str
    size: int
    first: tuple[str, str]
    last: tuple[str, str]


_FIELDS = (
    _Field("minutes", "from 0 to 59", 60, ("0", "0"), ("59", "59")),
    _Field("hours", "from 0 to 23", 24, ("0", "0"), ("23", "23")),
    _Field("days", "from 1 to 31, or L for the last one", 31, ("1", "1"), ("31", "31")),
    _Field("months", "from 1 to 12, or JAN to DEC", 12, ("1", "JAN"), ("12", "DEC")),
    _Field("weekdays", "from 0 to 7, or MON to SUN", 7, ("0", "SUN"), ("6", "SAT")),
)


def dates_of(line: str, begin: datetime) -> Iterator[datetime]:
    """Yield the dates of a cron line after an instant, in the time zone of that.

    Raises:
        CronSimError: It is no cron line.
    """
    # For CronSim a week that is written in names begins with Sunday: SAT-SUN would go backwards.
    return CronSim(_UP_TO_SUNDAY.sub("-7", line), begin)


def problem_of(line: str) -> str | None:
    """Return what is wrong with a cron line, in words that go on a sentence; None if nothing is."""
    texts = line.split()
    if len(texts) != len(_FIELDS):
        return "it needs five fields: minute, hour, day, month, weekday"
    for position, field in enumerate(_FIELDS):
        for term in texts[position].split(","):
            if (problem := _problem_of_term(term, field, position)) is not None:
                return problem
    if not _is_accepted(line):
        return "there must be such a day in such a month"
    if next(dates_of(line, _BEGIN), None) is None:
        return "it never matches a date"
    return None


def _problem_of_term(term: str, field: _Field, position: int) -> str | None:
    step = _STEP.fullmatch(term)
    if step and not int(step[1]):
        return "a step must be at least 1"
    if step and int(step[1]) > field.size:
        return (
            f"the step {step[1]} is more than the {field.size} {field.plural} there are; "
            f"every= takes an interval of any length"
        )
    if _is_accepted(_alone(term, position)):
        return None
    if "?" in term:
        return "'?' means nothing here: write '*'"
    if not term:
        return f"a value is missing among the {field.plural}"
    return _backwards(term, field, position) or f"the {field.plural} must be {field.values}"


def _backwards(term: str, field: _Field, position: int) -> str | None:
    ends = _RANGE.match(term)
    if ends is None or not all(_is_accepted(_alone(end, position)) for end in ends.groups()):
        return None
    begin, end = ends.groups()
    is_named = begin.isalpha()
    halves = f"{begin}-{field.last[is_named]},{field.first[is_named]}-{end}"
    hint = f": write {halves}" if _is_accepted(_alone(halves, position)) else ""
    return f"the {field.plural} {begin}-{end} go backwards{hint}"


def _alone(text: str, position: int) -> str:
    return " ".join(text if one == position else "*" for one in range(len(_FIELDS)))


def _is_accepted(line: str) -> bool:
    try:
        dates_of(line, _BEGIN)
    except CronSimError:
        return False
    return True
