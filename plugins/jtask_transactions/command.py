"""`jtask transactions`: see and forget what is recorded."""

from typing import TYPE_CHECKING, Any

import click

from jtask.cli.output import say, say_json
from jtask.cli.parameters import as_json
from jtask.cli.prompts import confirm, yes_option
from jtask.worker.exit_codes import ExitCode

if TYPE_CHECKING:
    from jtask_transactions.records import Entry


@click.group()
def transactions() -> None:
    """Manage the records of transactions with keys."""


@transactions.command("ls")
@as_json
def ls(*, as_json: bool) -> None:
    """List what is recorded: under which key, by which run, since when."""
    from jtask_transactions.operations import list_transactions

    found = list_transactions()
    if as_json:
        say_json([_facts(entry) for entry in found])
    elif found:
        _print(found)
    else:
        say("no transaction with a key is recorded", err=True)


@transactions.command("rm")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@yes_option
@as_json
def rm(keys: tuple[str, ...], *, yes: bool, as_json: bool) -> None:
    """Forget that the work of some KEYs was done: whoever comes next does it again."""
    from jtask_transactions.operations import forget_transactions

    confirm(f"Let the work of {len(keys)} keys be done again?", yes=yes)
    gone = forget_transactions(keys)
    if as_json:
        say_json(gone)
    else:
        say(f"{len(gone)} forgotten", err=True)
    if missing := [key for key in keys if key not in gone]:
        say(f"nothing is recorded under {', '.join(map(repr, missing))}", err=True)
        raise SystemExit(ExitCode.FAILED)


def _facts(entry: "Entry") -> dict[str, Any]:
    return {
        "key": entry.key,
        "run_id": entry.run_id,
        "at": entry.at,
        "serializer": entry.serializer,
        "size": len(entry.payload),
    }


def _print(entries: "list[Entry]") -> None:
    from jtask.cli.tables import local_time, print_table

    print_table(
        ("KEY", "SINCE", "RUN", "BYTES"),
        [
            (entry.key, local_time(entry.at), entry.run_id or "-", str(len(entry.payload)))
            for entry in entries
        ],
    )
