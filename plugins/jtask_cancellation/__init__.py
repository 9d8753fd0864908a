"""The plugin that cancels what executes: workers hear of cancellations and see to them.

`Run.cancel` asks (`jtask.cancelling`); each worker listens, ends the run that it holds, and goes on
with a cancellation whose caller or holder died on the way. Adds `jtask cancel`.
"""

from typing import TYPE_CHECKING

from jtask.hooks import hookimpl

if TYPE_CHECKING:
    import click

    from jtask.worker import Worker, WorkerInfo
    from jtask_cancellation.worker_side import CancelListener

_listeners: "dict[Worker, CancelListener]" = {}


@hookimpl
def jtask_worker_started(worker: "WorkerInfo") -> None:
    """Have the worker hear of cancellations."""
    from jtask_cancellation.worker_side import CancelListener

    listener = _listeners[worker.worker] = CancelListener(worker.worker)
    worker.worker.client.io.run(listener.start())


@hookimpl
def jtask_worker_stopping(worker: "WorkerInfo") -> None:
    """Hear of nothing new; what still executes can be cancelled until it is over."""
    listener = _listeners.pop(worker.worker, None)
    if listener is not None:
        worker.worker.client.io.run(listener.stop())


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask cancel`."""
    from jtask_cancellation.command import cancel

    cli.add_command(cancel)
