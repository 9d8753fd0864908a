"""The group of all commands: jtask's own, those of installed packages, and the plugins'."""

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jtask.cli.completion import completion
from jtask.cli.config import config
from jtask.cli.enqueue import enqueue
from jtask.cli.output import say
from jtask.cli.result import result
from jtask.cli.runs import runs
from jtask.cli.serve import serve
from jtask.cli.trace import trace
from jtask.cli.version import version
from jtask.cli.workers import workers
from jtask.errors import ConfigurationError, JTaskError
from jtask.worker.exit_codes import ExitCode, exit_code_of

if TYPE_CHECKING:
    from pluggy import HookImpl

    from jtask.cli.installed_commands import InstalledCommands
    from jtask.plugins import Plugins


class Program(click.Group):
    """A group of commands, each loaded when it is asked for.

    A name is looked for among jtask's own commands, then among those of installed packages (the
    entry points of the group `jtask.commands`), and only then are the plugins loaded, which may add
    more, and options to `jtask serve`.

    Every error that jtask raises on purpose ends the program with one sentence on stderr.
    """

    _plugged = False

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by name.

        Raises:
            JTaskError: It may be a plugin's, and the plugins cannot be loaded.
        """
        # Their help must show the options of plugins, and come although one is broken.
        if cmd_name in _EXTENDED:
            self._try_plugin_commands(ctx)
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        if cmd_name in self._installed.names:
            return self._installed.load(cmd_name)
        self._add_plugin_commands()
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; of one that another program has, say what stands in its place."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from jtask.other_libraries import COMMANDS

            if (way := COMMANDS.get(args[0])) is None:
                raise
            said = f"No such command {args[0]!r}: {way}."
            raise click.UsageError(said, ctx=ctx) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names."""
        self._try_plugin_commands(ctx)
        # jtask's own win (`get_command`): another package must not take `jtask serve` over.
        for name in sorted(self._installed.names & self.commands.keys()):
            package = self._installed.packages(name)
            _warn(ctx, f"the command {name!r} of package {package} is not used: jtask has its own")
        return sorted({*super().list_commands(ctx), *self._installed.names})

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command; a plugin's must not have the name of an installed package's.

        Raises:
            ConfigurationError: It has, and the package is named.
        """
        # Own commands are added when the program is imported, at every key press that completes a
        # line; the metadata of all installed packages is not read for them.
        label = str(name or cmd.name)
        if self._plugged and label in self._installed.names:
            package = self._installed.packages(label)
            raise ConfigurationError(f"package {package} has a command {label!r} already")
        super().add_command(cmd, name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and turn errors into sentences and exit codes."""
        try:
            return super().invoke(ctx)
        except JTaskError as error:
            say(f"Error: {error}", err=True)
            ctx.exit(exit_code_of(error))
        except click.NoSuchOption as error:
            if (way := _way_out(error)) is None:
                raise
            said = f"No such option '{error.option_name}': {way}."
            raise click.NoSuchOption(error.option_name, said, ctx=error.ctx) from None
        except KeyboardInterrupt:
            # Not click's "Aborted!", and the exit code that shells expect.
            ctx.exit(ExitCode.INTERRUPTED)

    @cached_property
    def _installed(self) -> "InstalledCommands":
        from jtask.cli.installed_commands import InstalledCommands

        return InstalledCommands()

    def _try_plugin_commands(self, ctx: click.Context) -> None:
        """Add the plugins' commands; a broken plugin must not take the help away."""
        try:
            self._add_plugin_commands()
        except JTaskError as error:
            _warn(ctx, str(error))

    def _add_plugin_commands(self) -> None:
        if self._plugged:
            return
        # Before they are asked: a command that fails must not be added twice by the next question.
        self._plugged = True
        problems: list[ConfigurationError] = []
        for impl in _plugins().manager.hook.jtask_cli.get_hookimpls():
            try:
                self._add_commands_of(impl)
            except ConfigurationError as problem:
                problems.append(problem)
        if problems:
            raise problems[0]

    def _add_commands_of(self, impl: "HookImpl") -> None:
        try:
            impl.function(self)
        except Exception as error:
            raise ConfigurationError(
                f"plugin {impl.plugin_name!r} cannot add its commands: {error}; "
                f"name the plugins to load in JTASK_PLUGINS to go on without it"
            ) from error


def _way_out(error: click.NoSuchOption) -> str | None:
    if error.option_name[1:2].isdigit():
        return "put -- before values that begin with a minus"
    from jtask.other_libraries import SERVE_OPTIONS

    is_serve = error.ctx is not None and error.ctx.info_name == "serve"
    return SERVE_OPTIONS.get(error.option_name) if is_serve else None


def _warn(ctx: click.Context, sentence: str) -> None:
    # While the shell completes a line, stderr is the terminal on which somebody types.
    if not ctx.resilient_parsing:
        say(f"Warning: {sentence}", err=True)


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
_EXTENDED = frozenset({"serve", "runs"})
"""Own commands that plugins may add options to, or commands."""


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


for _command in (serve, enqueue, result, runs, trace, workers, config, completion, version):
    main.add_command(_command)
