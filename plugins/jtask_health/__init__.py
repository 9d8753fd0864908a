"""The plugin that says how a worker is: in its log, and to whoever asks over HTTP.

It shows how a plugin adds options to `jtask serve` and stays with a worker from its start to its
end; it has nothing to do with single runs.
"""

from typing import TYPE_CHECKING

from jtask.hooks import hookimpl

if TYPE_CHECKING:
    import click

    from jtask.runtime import WorkerHandle, WorkerInfo
    from jtask.settings import SettingsModel
    from jtask_health.monitor import Monitor

_monitors: "dict[WorkerHandle, Monitor]" = {}


@hookimpl
def jtask_settings() -> "type[SettingsModel]":
    """Declare where a worker answers, and when it gives up."""
    from jtask_health.settings import HealthSettings

    return HealthSettings


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add the options to `jtask serve`."""
    from jtask_health.serve_options import serve_options

    # A plugin may be asked by another program too, as in a test.
    serve = cli.commands.get("serve")
    if serve is not None:
        serve.params += serve_options()


@hookimpl
def jtask_worker_started(worker: "WorkerInfo") -> None:
    """Watch over the worker, and answer for it if a port is set."""
    from jtask.settings import settings_of
    from jtask_health.monitor import Monitor
    from jtask_health.settings import HealthSettings

    _monitors[worker.worker] = Monitor(worker, settings_of(HealthSettings))


@hookimpl
def jtask_worker_stopping(worker: "WorkerInfo") -> None:
    """Answer from now on that the worker is not ready."""
    monitor = _monitors.get(worker.worker)
    if monitor is not None:
        monitor.mark_stopping()


@hookimpl
def jtask_worker_stopped(worker: "WorkerInfo") -> None:
    """Answer no more."""
    monitor = _monitors.pop(worker.worker, None)
    if monitor is not None:
        monitor.close()
