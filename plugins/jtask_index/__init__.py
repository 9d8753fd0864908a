"""The plugin that keeps runs in SQL, to be found again: what `jtask runs` and a web page read.

`jtask index` follows the event log and writes; `jtask_index.reader` reads. Runs do not know of it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from jtask.hooks import hookimpl
from jtask.options import Option
from jtask.run_arguments import REDACT

if TYPE_CHECKING:
    import click

    from jtask.bulk_actions import BulkCarrier
    from jtask.run_index import RunIndex
    from jtask.settings import SettingsModel


@hookimpl
def jtask_options() -> list[Option]:
    """Declare what of a task's arguments nobody is to read who looks at its runs."""
    return [
        Option(
            REDACT,
            check=_names,
            fits=_fits,
            help="Parameters, and keys inside of them, whose values are not recorded.",
            for_caller=True,
        )
    ]


@hookimpl
def jtask_settings() -> "type[SettingsModel]":
    """Declare where the index is, and how long it keeps what."""
    from jtask_index.settings import IndexSettings

    return IndexSettings


@hookimpl
def jtask_run_index() -> "RunIndex | None":
    """Open the index, where the packages of the extra `console` are and somebody has made one."""
    from jtask_index.extra import is_installed

    if not is_installed():
        return None
    from jtask_index.reader import find_index

    return find_index()


@hookimpl
def jtask_bulk_carrier() -> "BulkCarrier | None":
    """Note what commands do to many runs, where there is an index."""
    index = jtask_run_index()
    if index is None:
        return None
    from jtask_index.bulk import known_actions
    from jtask_index.carrier import carrier
    from jtask_index.reader import IndexReader

    return carrier(cast("IndexReader", index), known_actions())


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask index`, and to `jtask runs` what acts on many runs."""
    import click

    from jtask_index import bulk_command
    from jtask_index.command import index

    cli.add_command(index)
    runs = cli.commands.get("runs")
    if isinstance(runs, click.Group):
        for command in (
            bulk_command.cancel,
            bulk_command.rerun,
            bulk_command.resume,
            bulk_command.operations,
        ):
            runs.add_command(command)


def _names(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, Sequence) and not isinstance(value, str):
        names = tuple(cast("Sequence[object]", value))
        if all(isinstance(name, str) for name in names):
            return cast("tuple[str, ...]", names)
    raise ValueError(f'must name parameters, such as ["password"], got {value!r}')


def _fits(value: object, function: Callable[..., Any]) -> None:
    from jtask_index.redacting import check_redacted

    check_redacted(cast("Sequence[str]", value), function)
