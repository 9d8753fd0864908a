"""What failed, by task and error."""

import time

from jtask.durations import parse_seconds
from jtask.run_filters import RunFilter
from jtask_console.live.hub import DEAD_LETTERS
from jtask_console.pages.page import Asked, Facts, Page, always
from jtask_console.pages.runs import SPANS
from jtask_index.reader import IndexReader

_GROUPS = 200


async def _facts(asked: Asked) -> Facts:
    since = asked.query.get("since", "")
    since = since if since in SPANS and since else "24h"
    now = time.time()

    def look(index: IndexReader) -> Facts:
        begin = now - parse_seconds(since)
        groups = index.failures(RunFilter(), since=begin, until=now, limit=_GROUPS)
        return {"groups": groups}

    return await asked.index.ask(look) | {
        "title": "Failures",
        "section": "failures",
        "since": since,
        "spans": {name: text for name, text in SPANS.items() if name},
    }


PAGE = Page("/failures", "failures.html", _facts, always(DEAD_LETTERS), ("groups",))
