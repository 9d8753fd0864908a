"""What `jtask schedules ls` shows of a schedule."""

import pytest

from jtask_schedules.commands import _row, _to_json  # pyright: ignore[reportPrivateUsage]
from jtask_schedules.decisions import LAPSE_SECONDS
from jtask_schedules.schedule import Declaration, Schedule

DECLARATION = Declaration(
    task="report-0123456789ab",
    name="report",
    queue="reports",
    priority=0,
    serializer="json",
    payload="",
    tags=(),
    cron="0 4 * * *",
    every=None,
    timezone="Europe/Berlin",
    missed="coalesce",
)
NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("declared", "paused", "shown"),
    [
        (NOW - 1, False, "2027-01-16 04:00:00"),
        (NOW - 1, True, "paused"),
        (NOW - LAPSE_SECONDS - 1, False, "no worker has it"),
        (NOW - LAPSE_SECONDS - 1, True, "no worker has it"),
    ],
)
def test_a_schedule_that_no_worker_declares_is_told_from_one_that_goes_on(
    declared: float, paused: bool, shown: str
) -> None:
    schedule = Schedule(DECLARATION, "chain", declared, paused=paused, started=(NOW - 100,))
    row = _row(schedule, NOW)
    assert row[3] == shown
    assert len("  ".join(row)) <= 80
    assert _to_json(schedule, NOW)["orphaned"] is (shown == "no worker has it")
