"""The plugin that cancels what executes: workers hear of cancellations and see to them.

`Run.cancel` asks (`jtask.client.cancellation`); each worker listens, ends the run that
it holds, and goes on with a cancellation whose caller or holder died on the way. Adds
`jtask cancel`.
"""

from typing import TYPE_CHECKING

from jtask.hooks import hookimpl

if TYPE_CHECKING:
    import click

    from jtask.runtime import WorkerHandle, WorkerInfo
    from jtask_cancellation.listening import Listening

_listening: "dict[WorkerHandle, Listening]" = {}


@hookimpl
def jtask_worker_started(worker: "WorkerInfo") -> None:
    """Have the worker hear of cancellations."""
    from jtask_cancellation.listening import Listening

    listening = _listening[worker.worker] = Listening(worker.worker)
    worker.worker.run_on_io(listening.start())


@hookimpl
def jtask_worker_stopping(worker: "WorkerInfo") -> None:
    """Hear of nothing new; what still executes can be cancelled until it is over."""
    listening = _listening.pop(worker.worker, None)
    if listening is not None:
        worker.worker.run_on_io(listening.stop())


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask cancel`."""
    from jtask_cancellation.command import cancel

    cli.add_command(cancel)
