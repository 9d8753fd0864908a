"""The plugin that lets people look after queues: list, pause, resume, empty them.

`jtask_queues.operations` has the functions, `jtask queues` calls them. A pause is held by the
broker; workers only have to cancel what they hold of a queue that is purged.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from jtask.hooks import hookimpl

if TYPE_CHECKING:
    import click

    from jtask.runtime import WorkerInfo


@hookimpl
@asynccontextmanager
async def jtask_worker(worker: "WorkerInfo") -> AsyncGenerator[None]:
    """Have the worker cancel what it has not begun of a queue that is purged."""
    from jtask_queues.purging import PurgeListener

    listener = PurgeListener(worker.worker)
    await worker.worker.on_io(listener.start())
    try:
        yield
    finally:
        await worker.worker.on_io(listener.close())


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask queues`."""
    from jtask_queues.command import queues

    cli.add_command(queues)
