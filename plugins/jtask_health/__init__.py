"""The plugin that says how a worker is: to its log, and to whoever asks over HTTP.

It shows how a plugin adds options to `jtask serve` and accompanies a worker; it has nothing to do
with single runs.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from jtask.hooks import hookimpl

if TYPE_CHECKING:
    import click

    from jtask.runtime import WorkerInfo


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add the options to `jtask serve`."""
    from jtask_health.serve_options import serve_options

    serve = cli.commands.get("serve")
    if serve is not None:
        serve.params += serve_options()


@hookimpl
@asynccontextmanager
async def jtask_worker(worker: "WorkerInfo") -> AsyncGenerator[None]:
    """Watch over the worker, and answer for it if a port is set."""
    from jtask.settings import get_settings
    from jtask_health.monitor import Monitor

    monitor = Monitor(worker, get_settings())
    try:
        yield
    finally:
        await asyncio.wait([asyncio.wrap_future(monitor.close())])
