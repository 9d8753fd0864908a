"""Count the runs that ended: by the minute, and those of all tasks by the hour."""

from collections import Counter

from sqlalchemy import Connection

from jtask_index.folding import MinuteKey
from jtask_index.schema import task_run_hour, task_run_minute
from jtask_index.statements import adding

HOUR = 60
"""Minutes of a row of `task_run_hour`."""

_ADD_TO_MINUTES = adding(task_run_minute)
_ADD_TO_HOURS = adding(task_run_hour)


def add_to_minutes(connection: Connection, minutes: Counter[MinuteKey]) -> None:
    """Add to the numbers of runs that ended.

    Args:
        connection: In a transaction.
        minutes: What to add.
    """
    # In an order that is everybody's: PostgreSQL locks row by row.
    _ADD_TO_MINUTES.execute(connection, [(*key, n) for key, n in sorted(minutes.items()) if n])
    hours: Counter[tuple[int, str, int]] = Counter()
    for key, n in minutes.items():
        hours[key.minute - key.minute % HOUR, key.state, key.step] += n
    _ADD_TO_HOURS.execute(connection, [(*key, n) for key, n in sorted(hours.items()) if n])
