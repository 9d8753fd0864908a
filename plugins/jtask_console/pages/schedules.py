"""The schedules: when each is due next, and whether its code is still there."""

import time
from typing import NamedTuple

from jtask.client import get_client
from jtask_console.live.hub import CLOCK, SCHEDULES
from jtask_console.pages.page import Asked, Facts, Page, always
from jtask_schedules.decisions import is_orphaned
from jtask_schedules.schedule import Schedule
from jtask_schedules.schedule_store import ScheduleStore

_NEXT_TIMES = 3


class ScheduleRow(NamedTuple):
    """A schedule, as the page shows it.

    Attributes:
        schedule: As it is kept.
        next_times: When its next runs are due; none while it is paused.
        pending: The id of the run that waits for the next of them.
        is_orphaned: Whether no worker declares it any more.
    """

    schedule: Schedule
    next_times: list[float]
    pending: str | None
    is_orphaned: bool


async def find_schedules() -> list[ScheduleRow]:
    """Return all schedules.

    Raises:
        BrokerError: The broker cannot be asked.
    """
    client = get_client()
    found = await client.bridge(ScheduleStore(client.broker).all())
    now = time.time()
    return [_row(schedule, now) for schedule in found]


def _row(schedule: Schedule, now: float) -> ScheduleRow:
    times = [] if schedule.paused else schedule.trigger.first_after(now, _NEXT_TIMES)
    pending = None if schedule.pending is None else schedule.run_id(schedule.pending)
    return ScheduleRow(schedule, times, pending, is_orphaned(schedule, now))


async def _facts(asked: Asked) -> Facts:
    del asked
    return {"title": "Schedules", "section": "schedules", "schedules": await find_schedules()}


PAGE = Page("/schedules", "schedules.html", _facts, always(SCHEDULES, CLOCK), ("schedules",))
