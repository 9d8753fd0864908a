"""The queues: how much waits, since when, how much gets done, and whether somebody serves them."""

import asyncio
from typing import NamedTuple

from jtask.client import get_client
from jtask.contract import Broker, QueueInfo
from jtask.ids import created_at
from jtask_console.live.hub import CLOCK, QUEUES, RUNS
from jtask_console.pages.page import Asked, Facts, Page, always
from jtask_console.pages.queue_rates import NO_RATE, Rate, queue_rates
from jtask_console.threaded_index import ThreadedIndex
from jtask_queues.operations import list_queues, served_queues

_LOOKED_AT = 50  # queues whose oldest run is looked for: each is a request


class QueueRow(NamedTuple):
    """A queue, as the page shows it.

    Attributes:
        info: What the broker says.
        is_served: Whether a living worker takes its runs.
        oldest: When the run was made that has waited longest; None when none waits.
        rate: How many of its runs end.
    """

    info: QueueInfo
    is_served: bool
    oldest: float | None
    rate: Rate


async def find_queues(index: ThreadedIndex) -> list[QueueRow]:
    """Return all queues, by name.

    Args:
        index: Knows how many of their runs end.

    Raises:
        BrokerError: The broker cannot be asked.
        IndexUnavailable: The database cannot be read.
    """
    served, rates = await asyncio.gather(asyncio.to_thread(served_queues), queue_rates(index))
    infos = await asyncio.to_thread(list_queues, served)
    client = get_client()
    looked_at = [info.name for info in infos if info.waiting][:_LOOKED_AT]
    found = await asyncio.gather(
        *(client.bridge(_oldest(client.broker, queue)) for queue in looked_at)
    )
    oldest = dict(zip(looked_at, found, strict=True))
    return [
        QueueRow(info, info.name in served, oldest.get(info.name), rates.get(info.name, NO_RATE))
        for info in infos
    ]


async def _oldest(broker: Broker, queue: str) -> float | None:
    async for run in broker.queues.waiting(queue):
        # One that waits for its instant, or to be woken, is not late.
        if run.at is None:
            return created_at(run.run_id)
    return None


async def _facts(asked: Asked) -> Facts:
    return {"title": "Queues", "section": "queues", "queues": await find_queues(asked.index)}


PAGE = Page("/queues", "queues.html", _facts, always(QUEUES, RUNS, CLOCK), ("queues",))
