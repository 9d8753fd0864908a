"""What a worker does for the schedules of its tasks, from its start to its stop.

It says again and again that its code has them. No process is the scheduler: any worker that has a
schedule keeps it going, and once the last one is gone its declaration lapses.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from jtask.errors import BrokerError
from jtask.settings import settings_of
from jtask_schedules.decisions import RENEW_SECONDS
from jtask_schedules.schedule import Declaration, declaration_of
from jtask_schedules.schedule_store import ScheduleStore
from jtask_schedules.settings import ScheduleSettings

if TYPE_CHECKING:
    from jtask.runtime import WorkerHandle, WorkerInfo

_RETRY_SECONDS = 1.0  # after the broker refused; well within what a declaration takes to lapse
_log = logging.getLogger("jtask.worker")


@asynccontextmanager
async def renewed(worker: "WorkerInfo") -> AsyncGenerator[None]:
    """Declare the schedules of a worker's tasks, and renew them until it stops.

    What was declared lapses by itself.
    """
    declarations = [found for task in worker.tasks if (found := declaration_of(task)) is not None]
    async with asyncio.TaskGroup() as group:
        group.create_task(_renew_while_it_works(worker.worker, declarations))
        yield


async def _renew_while_it_works(
    worker: "WorkerHandle", declarations: Sequence[Declaration]
) -> None:
    # A worker that does not come to take runs shall not have declared anything.
    if not await worker.started():
        return
    renewal = _renew(
        ScheduleStore(worker.broker), declarations, settings_of(ScheduleSettings).schedule_ttl
    )
    async with asyncio.TaskGroup() as group:
        renewing = group.create_task(worker.on_io(renewal))
        await worker.stopping()
        renewing.cancel()


async def _renew(
    store: ScheduleStore, declarations: Sequence[Declaration], lifetime: float
) -> None:
    while True:
        pause = RENEW_SECONDS
        try:
            for declaration in declarations:
                await store.declare(declaration)
            for removed in await store.sweep(lifetime):
                name = removed.declaration.name
                _log.info("removed the schedule of %s: no worker declares it any more", name)
        except BrokerError as error:
            _log.warning("cannot maintain the schedules, retrying: %s", error)
            pause = _RETRY_SECONDS
        except Exception:
            # Such as a record that cannot be read. Ending here would let all schedules lapse.
            _log.exception("cannot maintain the schedules")
        await asyncio.sleep(pause)
