"""`jtask cache`: see and forget what is kept."""

import time
from typing import TYPE_CHECKING, Any

import click

from jtask.cli.output import say, say_json
from jtask.cli.parameters import as_json
from jtask.cli.prompts import confirm, yes_option
from jtask.worker.exit_codes import ExitCode

if TYPE_CHECKING:
    from jtask_caching.store import Entry


@click.group()
def cache() -> None:
    """Manage the cache."""


@cache.command("ls")
@click.option("--task", help="Only values of the task with this name.")
@as_json
def ls(task: str | None, *, as_json: bool) -> None:
    """List what is kept: under which key, by which run, for how long."""
    from jtask_caching.operations import list_entries

    found = list_entries(task)
    if as_json:
        say_json([_facts(entry) for entry in found])
    elif found:
        _print(found)
    else:
        say("the cache is empty", err=True)


@cache.command("rm")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--task", help="All values of the task with this name.")
@click.option("--all", "all_", is_flag=True, help="All values.")
@yes_option
@as_json
def rm(keys: tuple[str, ...], task: str | None, *, all_: bool, yes: bool, as_json: bool) -> None:
    """Forget the values under some KEYs, of a task, or all."""
    from jtask_caching.operations import forget, list_entries

    if sum((bool(keys), task is not None, all_)) != 1:
        raise click.UsageError("give keys, or --task, or --all")
    chosen = list(keys) or [entry.key for entry in list_entries(task)]
    if not keys:
        confirm(f"Forget {len(chosen)} values?", yes=yes)
    gone = forget(chosen)
    if as_json:
        say_json(gone)
    else:
        say(f"{len(gone)} forgotten", err=True)
    if missing := [key for key in keys if key not in gone]:
        say(f"nothing is kept under {', '.join(map(repr, missing))}", err=True)
        raise SystemExit(ExitCode.FAILED)


def _facts(entry: "Entry") -> dict[str, Any]:
    return {
        "key": entry.key,
        "task": entry.task,
        "run_id": entry.run_id,
        "at": entry.at,
        "expires": entry.expires,
        "size": entry.size,
    }


def _print(entries: "list[Entry]") -> None:
    from jtask.cli.tables import local_time, print_table
    from jtask.durations import describe_seconds

    now = time.time()
    print_table(
        ("KEY", "TASK", "SINCE", "ENDS IN", "BYTES"),
        [
            (
                entry.key,
                entry.task,
                local_time(entry.at),
                "-" if entry.expires is None else describe_seconds(max(0.0, entry.expires - now)),
                str(entry.size),
            )
            for entry in entries
        ],
    )
