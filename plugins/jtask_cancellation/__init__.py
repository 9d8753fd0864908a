"""The plugin that cancels what executes, and adds `jtask cancel`.

`Run.cancel` sends a request (`jtask.client.cancellation`). Each worker listens for them, ends the
run that it holds, and completes a cancellation whose caller or holder died on the way.
"""

from typing import TYPE_CHECKING

from jtask.hooks import hookimpl

if TYPE_CHECKING:
    import click

    from jtask.runtime import WorkerHandle, WorkerInfo
    from jtask_cancellation.worker_side import CancelListener

_listeners: "dict[WorkerHandle, CancelListener]" = {}


@hookimpl
def jtask_worker_started(worker: "WorkerInfo") -> None:
    """Have the worker notified of cancellations."""
    from jtask_cancellation.worker_side import CancelListener

    listener = _listeners[worker.worker] = CancelListener(worker.worker)
    worker.worker.run_on_io(listener.start())


@hookimpl
def jtask_worker_stopping(worker: "WorkerInfo") -> None:
    """Take on nothing new; what still executes can be cancelled until it is over."""
    listener = _listeners.pop(worker.worker, None)
    if listener is not None:
        worker.worker.run_on_io(listener.stop())


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask cancel`."""
    from jtask_cancellation.command import cancel

    cli.add_command(cancel)
