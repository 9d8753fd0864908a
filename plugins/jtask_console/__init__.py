"""The console: a live web page of runs, queues, workers and schedules, and `jtask console`.

It needs the extra `jtask[console]`. Workers, and programs that only use tasks, import none of it.
"""

from typing import TYPE_CHECKING

from jtask.hooks import hookimpl

if TYPE_CHECKING:
    import click

    from jtask.settings import SettingsModel


@hookimpl
def jtask_settings() -> "type[SettingsModel]":
    """Declare where the console listens, and who may use it."""
    from jtask_console.settings import ConsoleSettings

    return ConsoleSettings


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask console`."""
    from jtask_console.command import console

    cli.add_command(console)
