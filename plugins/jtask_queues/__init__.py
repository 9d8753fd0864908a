"""The plugin that lets people look after queues: list, pause, resume, empty them.

`jtask_queues.upkeep` has the functions, `jtask queues` calls them. It touches no run's execution: a
pause is held by the broker.
"""

from typing import TYPE_CHECKING

from jtask.hooks import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask queues`."""
    from jtask_queues.command import queues

    cli.add_command(queues)
