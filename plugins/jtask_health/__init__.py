"""The plugin that says how a worker is: in its log, and to whoever asks over HTTP.

It shows how a plugin adds options to `jtask serve` and stays with a worker from its start to its
end; it has nothing to do with single runs.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from jtask.hooks import hookimpl

if TYPE_CHECKING:
    import click

    from jtask.runtime import WorkerInfo
    from jtask.settings import SettingsModel


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
@asynccontextmanager
async def jtask_worker(worker: "WorkerInfo") -> AsyncGenerator[None]:
    """Watch over the worker, and answer for it if a port is set."""
    from jtask.settings import settings_of
    from jtask_health.monitor import Monitor
    from jtask_health.settings import HealthSettings

    monitor = Monitor(worker, settings_of(HealthSettings))
    try:
        yield
    finally:
        await asyncio.wait([asyncio.wrap_future(monitor.close())])
