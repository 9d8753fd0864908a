"""`jtask runs cancel`, `rerun`, `resume` and `operations`: much at once, by a filter."""

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from jtask.cli.output import say, say_json
from jtask.cli.parameters import as_json
from jtask.cli.prompts import confirm, yes_option
from jtask.cli.run_options import filter_of, filter_options
from jtask.cli.tables import local_time, print_table
from jtask_index.extra import need_extra

if TYPE_CHECKING:
    from jtask_index.bulk import BulkOperations, Operation

_dry_run = click.option("--dry-run", is_flag=True, help="Only say how many runs that would be.")


@click.command()
@filter_options()
@_dry_run
@yes_option
@as_json
def cancel(*, dry_run: bool, yes: bool, as_json: bool, **given: Any) -> None:
    """Cancel the runs that are not over and match the options."""
    _act("cancel", given, dry_run=dry_run, yes=yes, as_json=as_json)


@click.command()
@filter_options()
@_dry_run
@yes_option
@as_json
def rerun(*, dry_run: bool, yes: bool, as_json: bool, **given: Any) -> None:
    """Execute the runs that are over and match the options again, with the same arguments.

    Each becomes one new run. If this is interrupted, `jtask runs resume` does the rest.
    """
    _act("rerun", given, dry_run=dry_run, yes=yes, as_json=as_json)


@click.command()
@click.argument("operation_id", metavar="OPERATION")
@as_json
def resume(operation_id: str, *, as_json: bool) -> None:
    """Go on with a `cancel` or `rerun` that was interrupted; what is done is not done again."""
    operations = _open()
    _carry_out(operations, operations.find(operation_id), as_json=as_json)


@click.command()
@as_json
def operations(*, as_json: bool) -> None:
    """List who has cancelled and rerun runs, which ones, and when; newest first."""
    found = _open().newest()
    if as_json:
        say_json([operation._asdict() for operation in found])
    elif found:
        print_table(("OPERATION", "WHAT", "RUNS", "WHO", "BEGUN", "FILTER"), list(map(_row, found)))
    else:
        say("no operations", err=True)


def _act(kind: str, given: dict[str, Any], *, dry_run: bool, yes: bool, as_json: bool) -> None:
    wanted = filter_of(given)
    if not str(wanted):
        raise click.UsageError("specify which runs: some of --state, --task, --tag, --where, ...")
    operations = _open()
    count = operations.count(kind, wanted)
    if dry_run or not count:
        if as_json:
            say_json({"runs": count})
        else:
            say(f"{_runs(count)} would be {_DONE[kind]}" if count else "no such runs", err=True)
        return
    confirm(f"{kind.capitalize()} {_runs(count)} ({wanted})?", yes=yes)
    operation = operations.begin(kind, wanted)
    _carry_out(operations, operation, as_json=as_json)


def _carry_out(operations: "BulkOperations", operation: "Operation", *, as_json: bool) -> None:
    say(f"if interrupted: jtask runs resume {operation.operation_id}", err=True)
    with click.progressbar(length=operation.runs, label=operation.kind, file=sys.stderr) as bar:
        results = operations.carry_out(operation, bar.update)
    if as_json:
        say_json({"operation_id": operation.operation_id, "results": _sorted(results)})
        return
    for result, count in _sorted(results).items():
        say(f"{count:>8}  {result}")


def _sorted(results: Counter[str]) -> dict[str, int]:
    return dict(results.most_common())


def _row(operation: "Operation") -> tuple[str, ...]:
    state = "" if operation.finished else ", not finished"
    begun = f"{local_time(operation.at)}{state}"
    runs = str(operation.runs)
    return (operation.operation_id, operation.kind, runs, operation.who, begun, operation.filter)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


_DONE = {"cancel": "cancelled", "rerun": "rerun"}


def _open() -> "BulkOperations":
    need_extra()
    from jtask.client import get_client
    from jtask_index.bulk import BulkOperations
    from jtask_index.reader import IndexReader

    return BulkOperations(IndexReader.open(), get_client())
