"""The workers that live, and what each executes since when."""

from jtask.client import get_client
from jtask.client.living_workers import living_workers
from jtask_console.live.hub import CLOCK, RUNS, WORKERS
from jtask_console.pages.page import Asked, Facts, Page, always


async def _facts(asked: Asked) -> Facts:
    del asked
    client = get_client()
    workers = await client.bridge(living_workers(client.broker))
    return {
        "title": "Workers",
        "section": "workers",
        "workers": workers,
        "executing": sum(worker["executing"] for worker in workers),
        "slots": sum(worker["concurrency"] for worker in workers),
    }


PAGE = Page("/workers", "workers.html", _facts, always(WORKERS, RUNS, CLOCK), ("workers",))
