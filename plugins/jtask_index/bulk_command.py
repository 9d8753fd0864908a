"""`jtask runs cancel`, `rerun`, `resume` and `operations`: much at once, by a filter."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from jtask.cli.output import say, say_json
from jtask.cli.parameters import as_json
from jtask.cli.progress import Tell, progress_bar
from jtask.cli.prompts import confirm, yes_option
from jtask.cli.run_options import filter_of, filter_options
from jtask.cli.tables import local_time, print_table
from jtask_index.extra import need_extra

if TYPE_CHECKING:
    from jtask.run_filters import RunFilter
    from jtask_index.bulk import BulkOperations, Progress
    from jtask_index.operations import Operation
    from jtask_index.reader import IndexReader

_dry_run = click.option("--dry-run", is_flag=True, help="Only say how many runs that would be.")


@click.command()
@filter_options()
@_dry_run
@yes_option
@as_json
def cancel(*, dry_run: bool, yes: bool, as_json: bool, **given: Any) -> None:
    """Cancel the runs that are not over and match the options."""
    _act("cancel runs", given, dry_run=dry_run, yes=yes, as_json=as_json)


@click.command()
@filter_options()
@_dry_run
@yes_option
@as_json
def rerun(*, dry_run: bool, yes: bool, as_json: bool, **given: Any) -> None:
    """Execute the runs that are over and match the options again, with the same arguments.

    Each becomes one new run. If this is interrupted, `jtask runs resume` does the rest.
    """
    _act("rerun runs", given, dry_run=dry_run, yes=yes, as_json=as_json)


@click.command()
@click.argument("operation_id", metavar="OPERATION")
@as_json
def resume(operation_id: str, *, as_json: bool) -> None:
    """Go on with what was interrupted, here or in a console; what is done is not done again."""
    from jtask_index.operations import OperationLog

    with _open() as index:
        operation = OperationLog(index.engine).find(operation_id)
        _carry_out(_bulk(index), operation, as_json=as_json)


@click.command()
@as_json
def operations(*, as_json: bool) -> None:
    """List who has done what here and in consoles, to which runs, and when; newest first."""
    from jtask_index.operations import OperationLog

    with _open() as index:
        found = OperationLog(index.engine).newest()
    if as_json:
        say_json([_facts(operation) for operation in found])
    elif found:
        print_table(("OPERATION", "WHAT", "RUNS", "WHO", "BEGUN", "FILTER"), list(map(_row, found)))
    else:
        say("no operations", err=True)


def _act(kind: str, given: dict[str, Any], *, dry_run: bool, yes: bool, as_json: bool) -> None:
    wanted = filter_of(given)
    if not str(wanted):
        raise click.UsageError("specify which runs: some of --state, --task, --tag, --where, ...")
    with _open() as index:
        _act_on(index, kind, wanted, dry_run=dry_run, yes=yes, as_json=as_json)


def _act_on(
    index: "IndexReader", kind: str, wanted: "RunFilter", *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    from jtask_index.operations import whoami
    from jtask_index.run_actions import count_meant

    count = count_meant(index, kind, wanted)
    if dry_run or not count:
        if as_json:
            say_json({"runs": count})
        else:
            say(f"{_runs(count)} would be {_DONE[kind]}" if count else "no such runs", err=True)
        return
    confirm(f"{kind.partition(' ')[0].capitalize()} {_runs(count)} ({wanted})?", yes=yes)
    bulk = _bulk(index)
    operation = asyncio.run(bulk.begin(kind, wanted, whoami()))
    _carry_out(bulk, operation, as_json=as_json)


def _carry_out(bulk: "BulkOperations", operation: "Operation", *, as_json: bool) -> None:
    say(f"if interrupted: jtask runs resume {operation.operation_id}", err=True)
    with progress_bar(operation.kind) as tell:
        results = asyncio.run(bulk.carry_out(operation, _shown_by(tell)))
    if as_json:
        say_json({"operation_id": operation.operation_id, "results": _sorted(results)})
        return
    for result, count in _sorted(results).items():
        say(f"{count:>8}  {result}")


def _shown_by(tell: Tell) -> "Callable[[Progress], None]":
    problems: set[str] = set()

    def show(progress: "Progress") -> None:
        tell(progress.done, progress.total)
        if progress.problem and progress.problem not in problems:
            problems.add(progress.problem)
            say(f"\nwaiting: {progress.problem}", err=True)

    return show


def _sorted(results: Counter[str]) -> dict[str, int]:
    return dict(results.most_common())


def _facts(operation: "Operation") -> dict[str, Any]:
    facts = operation._asdict()
    # Whose process it is tells nobody anything; arguments may be secrets.
    return {name: facts[name] for name in facts if name not in ("claim", "arguments")}


def _row(operation: "Operation") -> tuple[str, ...]:
    state = "" if operation.finished else ", not finished"
    begun = f"{local_time(operation.at)}{state}"
    runs = str(operation.runs)
    return (operation.operation_id, operation.kind, runs, operation.who, begun, operation.filter)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


_DONE = {"cancel runs": "cancelled", "rerun runs": "rerun"}


def _open() -> "IndexReader":
    need_extra()
    from jtask_index.reader import IndexReader

    return IndexReader.open()


def _bulk(index: "IndexReader") -> "BulkOperations":
    from jtask_index.bulk import BulkOperations, known_actions
    from jtask_index.carrier import asking

    return BulkOperations(asking(index), known_actions())
