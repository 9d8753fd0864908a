"""The runs, found by the filter in the address."""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

from jtask.errors import FilterError
from jtask.run_filters import RunFilter
from jtask.states import StateName
from jtask_console.live.hub import RUNS
from jtask_console.pages.page import Asked, Facts, Page, always
from jtask_index.reader import IndexReader

_ROWS = 50
SPANS: Mapping[str, str] = {
    "": "any time",
    "15m": "last 15 minutes",
    "1h": "last hour",
    "24h": "last 24 hours",
    "7d": "last 7 days",
}


def read_filter(asked: Asked) -> tuple[RunFilter, str]:
    """Return the filter in an address, and what is wrong with it; all runs then."""
    try:
        return RunFilter.from_query(asked.query.multi_items()), ""
    except FilterError as error:
        return RunFilter(), str(error)


def runs_address(wanted: RunFilter, **changes: Any) -> str:
    """Return the query of the page of some runs, with other fields of the filter if given."""
    query = replace(wanted, **changes).to_query()
    return f"?{query}" if query else "?"


async def _facts(asked: Asked) -> Facts:
    wanted, problem = read_filter(asked)
    after = asked.query.get("after")

    def look(index: IndexReader) -> Facts:
        page = index.runs(wanted, after=after, limit=_ROWS)
        counts = index.counts(replace(wanted, state=()))
        return {
            "runs": page.runs,
            "next": page.after,
            "reached": page.reached,
            "counts": counts,
            "is_exact": counts.is_exact,
            "tasks": index.tasks(),
            "queues": index.queues(),
        }

    found = await asked.index.ask(look)
    counts: dict[str, int] = found["counts"]
    meant = sum(counts.get(state, 0) for state in wanted.state) if wanted.state else None
    return found | {
        "title": "Runs",
        "section": "runs",
        "wanted": wanted,
        "query": wanted.to_query(),
        "problem": problem,
        "address": partial(runs_address, wanted),
        "next_address": _next_address(wanted, found["next"]),
        "is_first": after is None,
        "states": [state for state in StateName if counts.get(state)],
        "total": sum(counts.values()),
        "meant": sum(counts.values()) if meant is None else meant,
        "spans": SPANS,
        "where": " ".join(map(str, wanted.where)),
        "now": time.time(),
    }


def _next_address(wanted: RunFilter, after: str | None) -> str:
    query = wanted.to_query()
    return f"?{query}{'&' if query else ''}{urlencode({'after': after})}" if after else ""


PAGE = Page("/runs", "runs.html", _facts, always(RUNS), ("counts", "rows", "matching", "pages"))
