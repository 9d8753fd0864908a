"""The plugin that cancels what executes, and adds `jtask cancel`.

`Run.cancel` sends a request (`jtask.client.cancellation`). Each worker listens for them, ends the
run that it holds, and completes a cancellation whose caller or holder died on the way.
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
    """Let the worker's runs be cancelled until they are over."""
    from jtask_cancellation.worker_side import CancelListener

    listener = CancelListener(worker.worker)
    try:
        await worker.worker.on_io(listener.start())
        yield
    finally:
        await worker.worker.on_io(listener.close())


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask cancel`."""
    from jtask_cancellation.command import cancel

    cli.add_command(cancel)
