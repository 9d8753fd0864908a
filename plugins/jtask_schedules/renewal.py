"""What a worker does for the schedules of its tasks, from its start to its stop."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from jtask.errors import BrokerError
from jtask.settings import get_settings
from jtask_schedules.decisions import RENEW_SECONDS
from jtask_schedules.schedule import Declaration, declaration_of
from jtask_schedules.schedule_store import ScheduleStore

if TYPE_CHECKING:
    from jtask.runtime import WorkerHandle, WorkerInfo

_RETRY_SECONDS = 1.0
_log = logging.getLogger("jtask.worker")


@asynccontextmanager
async def renewed(worker: "WorkerInfo") -> AsyncGenerator[None]:
    """Declare the schedules of a worker's tasks, and renew them until it stops."""
    declarations = [found for task in worker.tasks if (found := declaration_of(task)) is not None]
    store = ScheduleStore(worker.worker.broker)
    standing = _declare(store, declarations, get_settings().schedule_ttl)
    async with asyncio.TaskGroup() as group:
        renewing = group.create_task(worker.worker.on_io(standing))
        group.create_task(_end_with(worker.worker, renewing))
        yield


async def _end_with(worker: "WorkerHandle", renewing: "asyncio.Task[None]") -> None:
    await worker.stopping()
    renewing.cancel()


async def _declare(
    store: ScheduleStore, declarations: Sequence[Declaration], lifetime: float
) -> None:
    while True:
        pause = RENEW_SECONDS
        try:
            for declaration in declarations:
                await store.declare(declaration)
            for removed in await store.sweep(lifetime):
                name = removed.declaration.name
                _log.info("the schedule of %s is removed: no worker declares it any more", name)
        except BrokerError as error:
            _log.warning("the schedules cannot be looked after, trying again: %s", error)
            pause = _RETRY_SECONDS
        except Exception:
            _log.exception("the schedules cannot be looked after")
        await asyncio.sleep(pause)
