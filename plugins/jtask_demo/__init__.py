"""The plugin that adds `jtask demo` to the program; every process loads it, so it stays small."""

from typing import TYPE_CHECKING

from jtask.hooks import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask demo`."""
    from jtask_demo.command import demo

    cli.add_command(demo)
