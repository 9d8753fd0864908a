"""The group of all commands: jtask's own and the plugins'."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jtask.cli.enqueue import enqueue
from jtask.cli.result import result
from jtask.cli.runs import runs
from jtask.cli.serve import serve
from jtask.cli.version import version
from jtask.errors import ConfigurationError, JTaskError
from jtask.worker.exit_codes import ExitCode, exit_code_of

if TYPE_CHECKING:
    from jtask.plugins import Plugins


class Program(click.Group):
    """A group that asks the plugins for commands it does not know itself, and for options.

    Every error that jtask raises on purpose ends the program with one sentence on stderr.
    """

    _plugged = False

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by name; plugins are loaded only where they may have a say."""
        own = super().get_command(ctx, cmd_name)
        if own is None:
            self._add_plugin_commands()
        elif cmd_name in _EXTENDED:
            self._try_plugin_commands(ctx)
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names."""
        self._try_plugin_commands(ctx)
        return super().list_commands(ctx)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and turn errors into sentences and exit codes."""
        try:
            return super().invoke(ctx)
        except JTaskError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(exit_code_of(error))
        except KeyboardInterrupt:
            ctx.exit(ExitCode.INTERRUPTED)

    def _try_plugin_commands(self, ctx: click.Context) -> None:
        """Add the plugins' commands; a broken plugin must not take the help away."""
        try:
            self._add_plugin_commands()
        except JTaskError as error:
            if not ctx.resilient_parsing:
                click.echo(f"Warning: {error}", err=True)

    def _add_plugin_commands(self) -> None:
        if self._plugged:
            return
        self._plugged = True
        for impl in _plugins().manager.hook.jtask_cli.get_hookimpls():
            try:
                impl.function(self)
            except Exception as error:
                raise ConfigurationError(
                    f"plugin {impl.plugin_name!r} cannot add its commands: {error}; name the "
                    f"plugins to load in JTASK_PLUGINS to go on without it"
                ) from error


def _plugins() -> "Plugins":
    from jtask.plugins import Plugins, get_plugins

    return get_plugins() if _may_restrict_plugins() else Plugins()


def _may_restrict_plugins() -> bool:
    """Tell whether a setting may name the plugins; reading settings properly costs 0.2 seconds."""
    if "JTASK_PLUGINS" in os.environ:
        return True
    here = Path.cwd()
    files = (folder / name for folder in (here, *here.parents) for name in _SETTINGS_FILES)
    return any(_mentions_plugins(file) for file in files if file.is_file())


_SETTINGS_FILES = ("jtask.toml", "pyproject.toml")
_EXTENDED = frozenset({"serve"})
"""Own commands that plugins may add options to; they need the plugins in any case."""


def _mentions_plugins(file: Path) -> bool:
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return False
    return "plugins" in text and (file.name == "jtask.toml" or "tool.jtask" in text)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="jtask")
def main() -> None:
    """Run Python functions in the background, on NATS JetStream."""


for _command in (serve, enqueue, result, runs, version):
    main.add_command(_command)
