"""The plugin that lets people look after queues: list, pause, resume, empty them.

`jtask_queues.operations` has the functions, `jtask queues` calls them. A pause is held by the
broker; workers only have to cancel what they hold of a queue that is purged.
"""

from typing import TYPE_CHECKING

from jtask.hooks import hookimpl

if TYPE_CHECKING:
    import click

    from jtask.runtime import WorkerHandle, WorkerInfo
    from jtask_queues.purging import PurgeListener

_listeners: "dict[WorkerHandle, PurgeListener]" = {}


@hookimpl
def jtask_worker_started(worker: "WorkerInfo") -> None:
    """Have the worker notified of purges."""
    from jtask_queues.purging import PurgeListener

    listener = _listeners[worker.worker] = PurgeListener(worker.worker)
    worker.worker.run_on_io(listener.start())


@hookimpl
def jtask_worker_stopping(worker: "WorkerInfo") -> None:
    """Close the subscription: what the worker has not begun is handed back anyway."""
    listener = _listeners.pop(worker.worker, None)
    if listener is not None:
        worker.worker.run_on_io(listener.stop())


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask queues`."""
    from jtask_queues.command import queues

    cli.add_command(queues)
