"""How many runs of each queue ended, minute by minute."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from jtask_console.threaded_index import ThreadedIndex
from jtask_index.reader import IndexReader
from jtask_index.schema import task_run_minute

MINUTES = 60
"""How far back; one more, that is not over, comes last."""

_RECENT = 5  # minutes, with the last one, of which the rate is the mean


@dataclass(frozen=True, slots=True)
class Rate:
    """How many runs of a queue ended.

    Attributes:
        minutes: In each minute, the oldest first.
        per_minute: On average of the last few.
    """

    minutes: Sequence[int]
    per_minute: float


NO_RATE = Rate((0,) * MINUTES, 0.0)


async def queue_rates(index: ThreadedIndex) -> Mapping[str, Rate]:
    """Return the rates of the queues of which runs have ended, by their names.

    Raises:
        IndexUnavailable: The database cannot be read.
    """
    now = time.time()
    first = int(now // 60) - MINUTES
    columns = task_run_minute.c
    query = (
        select(columns.queue, columns.minute, func.sum(columns.runs))
        .where(columns.minute >= first)
        .group_by(columns.queue, columns.minute)
    )

    def look(reader: IndexReader) -> Mapping[str, Rate]:
        ended: dict[str, dict[int, int]] = {}
        for queue, minute, runs in reader.fetch(query):
            ended.setdefault(queue, {})[minute - first] = int(runs)
        return {queue: rate_of(minutes, now % 60) for queue, minutes in ended.items()}

    return await index.ask(look)


def rate_of(ended: Mapping[int, int], into: float) -> Rate:
    """Return a rate.

    Args:
        ended: How many runs ended in which minute; `MINUTES` is the one that is not over.
        into: How long that one has lasted, in seconds.
    """
    recent = sum(ended.get(MINUTES - n, 0) for n in range(_RECENT))
    minutes = [ended.get(n, 0) for n in range(MINUTES)]
    return Rate(minutes, recent * 60 / ((_RECENT - 1) * 60 + into))
