"""The command `jtask console`."""

from typing import Any

import click


@click.command()
@click.option("--host", help="Where to listen; 127.0.0.1 by default.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 picks a free one.")
def console(**options: Any) -> None:
    """Show runs, queues, workers and schedules on a live web page.

    Only this machine reaches it, unless you set a token or put a proxy in front that authenticates
    people (docs/console.md).
    """
    from jtask_console.server import serve_console

    serve_console({name: value for name, value in options.items() if value is not None})
