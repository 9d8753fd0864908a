"""The console: a live web page of runs, queues, workers and schedules, and `jtask console`.

It needs the extra `jtask[console]`. Workers, and programs that only use tasks, import none of it.
"""

from typing import TYPE_CHECKING

from jtask.hooks import hookimpl

if TYPE_CHECKING:
    import click
    from starlette.applications import Starlette

    from jtask.settings import SettingsModel
    from jtask_console.access.callers import Authorize, Caller, Role
    from jtask_console.application import ConsoleApp

__all__ = ["Caller", "Role", "mount"]

_CALLERS = ("Caller", "Role")


def mount(
    app: "Starlette", path: str = "/jtask", *, authorize: "Authorize | None" = None
) -> "ConsoleApp":
    """Make the console a part of an application of Starlette or FastAPI.

    Args:
        app: The application.
        path: Where in it.
        authorize: Given a request, returns the `Caller`, or the `Role` of somebody without a name,
            or None for a stranger. Whom the console's own settings know is not asked about.

    Returns:
        ConsoleApp: The console; call its `close` where the application ends.

    Raises:
        ConfigurationError: Nobody would be asked who they are.
    """
    from jtask_console.application import ConsoleApp

    console = ConsoleApp(authorize=authorize, is_mounted=True)
    app.mount(path, console, name="jtask-console")
    return console


def __getattr__(name: str) -> object:
    # What the web page needs is not imported by workers, which load this module as a plugin.
    if name not in _CALLERS:
        raise AttributeError(f"module 'jtask_console' has no attribute {name!r}")
    from jtask_console.access import callers

    return getattr(callers, name)


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
