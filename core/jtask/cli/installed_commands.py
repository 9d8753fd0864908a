"""Commands of installed packages: the entry points of the group `jtask.commands`.

Each names a click command. It is imported when the command is used or its help is shown, and never
by a worker or by a program that only uses tasks; that is what sets it apart from a plugin.
"""

from importlib.metadata import EntryPoint, entry_points

import click

from jtask.errors import ConfigurationError

GROUP = "jtask.commands"


class InstalledCommands:
    """The commands that packages bring; knows their names without importing any of them."""

    def __init__(self) -> None:
        self._points: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=GROUP):
            self._points.setdefault(point.name, []).append(point)

    @property
    def names(self) -> frozenset[str]:
        """The names of the commands."""
        return frozenset(self._points)

    def packages(self, name: str) -> str:
        """Return the packages that bring a command, with commas between: more than one clash."""
        return ", ".join(sorted(map(_package_of, self._points[name])))

    def load(self, name: str) -> click.Command:
        """Import a command.

        Returns:
            click.Command: One that cannot be loaded, or that several packages bring, is replaced by
                one that says so, for an exception would take the help of all the others away.
        """
        point, *others = self._points[name]
        if others:
            return UnusableCommand(
                name,
                f"the command {name!r} is in more than one package ({self.packages(name)}): "
                f"uninstall all of them but one",
            )
        try:
            command = point.load()
        except Exception as error:  # whatever the import of another's package raises
            problem = f"{type(error).__name__}: {error}"
        else:
            if isinstance(command, click.Command):
                return command
            problem = f"it is of type {type(command).__name__}, not a click command"
        return UnusableCommand(
            name,
            f"the command {name!r} of package {self.packages(name)} ({point.value}) cannot be "
            f"loaded: {problem}",
        )


class UnusableCommand(click.Command):
    """A command that says why it cannot be used: in the help, and when it is called.

    Args:
        name: Its name.
        problem: Why, in one sentence.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(name, short_help=problem)
        self._problem = problem

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse whatever it is called with, `--help` too.

        Raises:
            ConfigurationError: Always, except while the shell completes a line.
        """
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        raise ConfigurationError(self._problem)


def _package_of(point: EntryPoint) -> str:
    return "unknown" if point.dist is None else point.dist.name
