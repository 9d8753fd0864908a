"""The first page: where runs stand, how many ended, how long they took, what goes on and wrong."""

import asyncio
import math
import time
from collections.abc import Mapping

from jtask.run_filters import RunFilter
from jtask.states import StateName
from jtask_console.charts import latency, throughput
from jtask_console.live.hub import CLOCK, RUNS
from jtask_console.pages.page import Asked, Facts, Page, always
from jtask_console.pages.queues import find_queues
from jtask_index.reader import IndexReader

_BUCKETS = 60
_GROUPS = 6
_QUEUES = 8
_RUNS = 8
_EXECUTING = (StateName.RUNNING, StateName.RETRYING)
_FAILED = (StateName.FAILED, StateName.TIMED_OUT, StateName.CRASHED)
_SPANS: Mapping[str, tuple[str, float]] = {
    "1h": ("hour", 3600.0),
    "24h": ("day", 86_400.0),
    "7d": ("week", 604_800.0),
}


async def _facts(asked: Asked) -> Facts:
    span = asked.query.get("span", "")
    span = span if span in _SPANS else "1h"
    now = time.time()
    # To the end of this minute, so that an hour has 60 of them.
    since = math.ceil(now / 60) * 60 - _SPANS[span][1]

    def look(index: IndexReader) -> Facts:
        buckets = index.timeline(RunFilter(), since=since, until=now, buckets=_BUCKETS)
        return {
            "counts": index.counts(RunFilter()),
            "throughput": throughput(buckets),
            "latency": latency(buckets),
            "groups": index.failures(RunFilter(), since=since, until=now, limit=_GROUPS),
            "executing": index.runs(RunFilter(state=_EXECUTING), limit=_RUNS).runs,
            "failed": index.runs(RunFilter(state=_FAILED), limit=_RUNS).runs,
        }

    found, queues = await asyncio.gather(asked.index.ask(look), find_queues(asked.index))
    counts: dict[str, int] = found["counts"]
    return found | {
        "title": "Overview",
        "section": "overview",
        "span": span,
        "spans": {name: text for name, (text, _) in _SPANS.items()},
        "states": [state for state in StateName if counts.get(state)],
        "executing_query": RunFilter(state=_EXECUTING).to_query(),
        "failed_query": RunFilter(state=_FAILED).to_query(),
        "queues": sorted(queues, key=lambda queue: -queue.info.waiting)[:_QUEUES],
    }


PAGE = Page(
    "/",
    "overview.html",
    _facts,
    always(RUNS, CLOCK),
    ("counts", "charts", "executing", "queues", "failed", "groups"),
)
