"""The plugin that adds `jtask server` to the program; every process loads it, so it stays small."""

from typing import TYPE_CHECKING

from jtask.hooks import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask server start|stop|status`."""
    from jtask_nats.server.cli import server

    cli.add_command(server)
