"""What a worker does for the turns on its queues, beside its runs.

Whoever starts a run wakes another one. If that was lost, with a process or with a run that was
cancelled on its queue, this makes up for it.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from jtask.client import get_client
from jtask.errors import BrokerError
from jtask.settings import settings_of
from jtask_fairness.settings import FairnessSettings
from jtask_fairness.turns import turns_on

if TYPE_CHECKING:
    from jtask.runtime import WorkerHandle

_PAUSE = 5.0  # seconds
_log = logging.getLogger("jtask.worker")


@asynccontextmanager
async def looked_after(worker: "WorkerHandle", queues: Sequence[str]) -> AsyncGenerator[None]:
    """Fill up some queues again and again, until the worker stops.

    Args:
        worker: The worker.
        queues: Those of its tasks whose runs take turns.
    """
    async with asyncio.TaskGroup() as group:
        group.create_task(_fill_while_it_works(worker, queues))
        try:
            yield
        finally:
            await worker.on_io(_close(queues))


async def _fill_while_it_works(worker: "WorkerHandle", queues: Sequence[str]) -> None:
    if not await worker.started():
        return
    async with asyncio.TaskGroup() as group:
        filling = group.create_task(worker.on_io(_fill(queues)))
        await worker.stopping()
        filling.cancel()


async def _fill(queues: Sequence[str]) -> None:
    window = settings_of(FairnessSettings).fair_window
    while True:
        try:
            for queue in queues:
                await turns_on(get_client(), queue).fill(window)
        except BrokerError as error:  # whoever consumes says so
            _log.debug("the turns on the queues are not looked after: %s", error)
        await asyncio.sleep(_PAUSE)


async def _close(queues: Sequence[str]) -> None:
    client = get_client()
    for queue in queues:
        turns_on(client, queue).close()
