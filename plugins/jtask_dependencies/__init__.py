"""The plugin that lets a run wait for others: `b.delay(a.delay(42))`.

A run that waits is parked under the id of one that it waits for. It holds no slot and no memory of
a worker, and nobody asks for it again and again: whoever stores the end of a run wakes those that
are parked under its id, before that run leaves its queue.
"""

from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from jtask.hooks import hookimpl
from jtask_dependencies.awaited import on_stored, watching

if TYPE_CHECKING:
    from jtask.lifecycle import Park
    from jtask.needs import Needs
    from jtask.outcomes import Upstreams
    from jtask.runtime import RunContext, WorkerInfo
    from jtask.stored_ends import StoredEnd


@hookimpl
def jtask_resolve(run: "RunContext", needs: "Needs") -> "Awaitable[Upstreams | Park]":
    """Return the ends of all runs that a run waits for, or park it under one that goes on."""
    from jtask_dependencies.waiting import resolve

    return resolve(run, needs)


@hookimpl
def jtask_stored(end: "StoredEnd") -> Awaitable[None] | None:
    """Wake the runs that wait for one that is over."""
    return on_stored(end)


@hookimpl
@asynccontextmanager
async def jtask_worker(worker: "WorkerInfo") -> AsyncGenerator[None]:
    """Hear which runs are waited for, for as long as the worker lives."""
    async with watching(worker.worker):
        yield
