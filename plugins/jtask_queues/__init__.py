"""The plugin that lets people look after queues: list, pause, resume, empty them.

`jtask_queues.upkeep` has the functions, `jtask queues` calls them. A pause is held by the broker;
workers only have to give up what they hold of a queue that is purged.
"""

from typing import TYPE_CHECKING

from jtask.hooks import hookimpl

if TYPE_CHECKING:
    import click

    from jtask.runtime import WorkerHandle, WorkerInfo
    from jtask_queues.giving_up import PurgeListening

_listening: "dict[WorkerHandle, PurgeListening]" = {}


@hookimpl
def jtask_worker_started(worker: "WorkerInfo") -> None:
    """Have the worker hear of purges."""
    from jtask_queues.giving_up import PurgeListening

    listening = _listening[worker.worker] = PurgeListening(worker.worker)
    worker.worker.run_on_io(listening.start())


@hookimpl
def jtask_worker_stopping(worker: "WorkerInfo") -> None:
    """Hear of nothing more: what it has not begun is handed back."""
    listening = _listening.pop(worker.worker, None)
    if listening is not None:
        worker.worker.run_on_io(listening.stop())


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask queues`."""
    from jtask_queues.command import queues

    cli.add_command(queues)
