"""The options that say which runs are meant."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from jtask.run_filters import RunFilter

F = TypeVar("F", bound=Callable[..., Any])


def filter_options(since: str | None = None) -> Callable[[F], F]:
    """Return a decorator that adds the options of `filter_of` to a command.

    Args:
        since: What `--since` is where it is not given.
    """
    options = (
        click.option(
            "--state",
            help="Only runs in this state, such as Failed.",
            multiple=True,
            metavar="NAME",
        ),
        click.option(
            "--task",
            help="Only runs of the task with this name or key.",
            multiple=True,
            metavar="NAME",
        ),
        click.option("--queue", help="Only runs of this queue.", multiple=True, metavar="NAME"),
        click.option(
            "--worker",
            help="Only runs that this worker holds or held.",
            multiple=True,
            metavar="NAME",
        ),
        click.option("--tag", help="Only runs with this tag.", multiple=True, metavar="NAME"),
        click.option("--parent", multiple=True, metavar="ID", help="Only runs of this run."),
        click.option(
            "--since",
            default=since,
            show_default=since is not None,
            metavar="INSTANT",
            help="Only runs created since this time (2h means 2 hours ago).",
        ),
        click.option("--until", metavar="INSTANT", help="Only runs created before this time."),
        click.option(
            "--where",
            multiple=True,
            metavar="CONDITION",
            help="Only runs that meet it: args.tenant=7, args.note~urgent, took>10s.",
        ),
        click.option("--text", help="Only runs with this text in their arguments, name or error."),
    )

    def decorate(command: F) -> F:
        # Decorators apply from the last one up, and click shows them in the order they stand in.
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def filter_of(given: Mapping[str, Any]) -> "RunFilter":
    """Return the filter that the options of a command say.

    Args:
        given: By name; what the command has besides them is passed over.

    Raises:
        click.UsageError: A state, an instant or a condition is none.
    """
    from jtask.errors import FilterError
    from jtask.run_filters import RunFilter

    texts: dict[str, list[str]] = {}
    for name, value in given.items():
        if isinstance(value, str):
            texts[name] = [value]
        elif isinstance(value, tuple):
            texts[name] = list(cast("tuple[str, ...]", value))
    try:
        return RunFilter.of(texts)
    except FilterError as error:
        raise click.UsageError(str(error)) from None
