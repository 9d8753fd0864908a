"""`jtask limits`: make, change and see the limits that have a name."""

import time
from typing import TYPE_CHECKING, Any

import click

from jtask.cli.output import say, say_json
from jtask.cli.parameters import as_json
from jtask.cli.prompts import confirm, yes_option
from jtask.worker.exit_codes import ExitCode

if TYPE_CHECKING:
    from jtask_limits.definitions import Limit

_PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
per_option = click.option(
    "--per", type=click.Choice(list(_PERIODS)), help="Make it a rate: so many in each."
)
burst_option = click.option(
    "--burst", type=click.IntRange(1), metavar="N", help="How many of a rate may begin at once."
)


@click.group()
def limits() -> None:
    """Manage limits with names."""


@limits.command()
@click.argument("name")
@click.argument("slots", type=click.IntRange(0), metavar="N")
@per_option
@burst_option
def create(name: str, slots: int, per: str | None, burst: int | None) -> None:
    """Make the limit NAME, of N at once or N in each period. `tag:T` is that of runs with tag T."""
    from jtask_limits.operations import create_limit

    if not create_limit(_limit(name, slots, per, burst)):
        say(f"there is a limit {name!r} already: use `jtask limits update`", err=True)
        raise SystemExit(ExitCode.FAILED)
    say(f"limit {name!r} is in force", err=True)


@limits.command()
@click.argument("name")
@click.argument("slots", type=click.IntRange(0), metavar="N")
@per_option
@burst_option
def update(name: str, slots: int, per: str | None, burst: int | None) -> None:
    """Change the limit NAME; what waits and may start now is started."""
    from jtask.errors import LimitNotFound
    from jtask_limits.operations import update_limit

    try:
        update_limit(_limit(name, slots, per, burst))
    except LimitNotFound as error:
        say(f"{error}: use `jtask limits create`", err=True)
        raise SystemExit(ExitCode.FAILED) from None
    say(f"limit {name!r} is changed", err=True)


@limits.command()
@click.argument("name")
@yes_option
def rm(name: str, *, yes: bool) -> None:
    """Remove the limit NAME: nothing waits for it any more."""
    from jtask_limits.operations import remove_limit

    confirm(f"Remove the limit {name!r}?", yes=yes)
    if not remove_limit(name):
        say(f"there is no limit {name!r}", err=True)
        raise SystemExit(ExitCode.FAILED)
    say(f"limit {name!r} is gone", err=True)


@limits.command("ls")
@as_json
def ls(*, as_json: bool) -> None:
    """List the limits with names, and how many of their slots are taken."""
    from jtask_limits.operations import holders_of, list_limits

    found = [(limit, len(holders_of(limit.name))) for limit in list_limits()]
    if as_json:
        say_json([_facts(limit, taken) for limit, taken in found])
    elif found:
        _print(found)
    else:
        say("no limits", err=True)


@limits.command()
@click.argument("name")
@as_json
def holders(name: str, *, as_json: bool) -> None:
    """List who holds slots of the limit NAME: ids of runs, or blocks of code."""
    from jtask_limits.operations import holders_of, list_limits

    found = sorted(holders_of(name), key=lambda one: one.until)
    if as_json:
        say_json([{"holder": one.holder, "until": one.until} for one in found])
    elif found:
        from jtask.cli.tables import print_table

        now = time.time()
        rows = [(one.holder, f"{max(0.0, one.until - now):.0f} s") for one in found]
        print_table(("HOLDER", "LEASE ENDS IN"), rows)
    else:
        is_known = any(limit.name == name for limit in list_limits())
        unknown = "" if is_known else "; `jtask limits ls` has no limit of that name"
        say(f"nobody holds a slot of {name!r}{unknown}", err=True)


def _limit(name: str, slots: int, per: str | None, burst: int | None) -> "Limit":
    from jtask_limits.definitions import Limit, is_limit_name

    if not is_limit_name(name):
        raise click.UsageError("NAME must be a text of 1 to 100 printable characters")
    if per is None:
        if burst is not None:
            raise click.UsageError("--burst is for rates: give --per too")
        return Limit(name, slots)
    if slots == 0:
        raise click.UsageError("a rate of 0 lets nothing begin: give at least 1")
    limit = Limit(name, slots, _PERIODS[per], burst)
    try:
        limit.check()
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return limit


def _facts(limit: "Limit", taken: int) -> dict[str, Any]:
    return {
        "name": limit.name,
        "slots": limit.slots,
        "taken": taken,
        "per": limit.per,
        "burst": limit.burst,
    }


def _print(found: "list[tuple[Limit, int]]") -> None:
    from jtask.cli.tables import print_table

    periods = {seconds: name for name, seconds in _PERIODS.items()}
    print_table(
        ("NAME", "LIMIT", "TAKEN"),
        [
            (
                limit.name,
                str(limit.slots)
                if limit.per is None
                else f"{limit.slots} per {periods.get(limit.per, f'{limit.per:g} s')}",
                str(taken),
            )
            for limit, taken in found
        ],
    )
