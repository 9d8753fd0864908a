"""Run a run again, with the same arguments or others: the form."""

import json

from jtask.errors import RunNotFound
from jtask.run_arguments import is_whole
from jtask_console.pages.page import Asked, Facts, Page, always


async def _facts(asked: Asked) -> Facts:
    run_id = asked.path["run_id"]
    run = await asked.index.ask(lambda index: index.run(run_id))
    if run is None:
        raise RunNotFound(f"the index knows no run {run_id}, so it cannot be run again from here")
    whole = is_whole(run.arguments)
    return {
        "title": f"Run {run.run_name or run.name} again",
        "section": "runs",
        "run": run,
        "is_whole": whole,
        "arguments": json.dumps(json.loads(run.arguments), indent=2, ensure_ascii=False)
        if whole
        else run.arguments,
    }


PAGE = Page("/runs/{run_id}/again", "rerun.html", _facts, always())
