"""`jtask index`: keep runs in SQL."""

import signal
from contextlib import closing
from typing import TYPE_CHECKING

import click

from jtask.cli.output import say
from jtask.cli.prompts import confirm, yes_option
from jtask_index.extra import need_extra

if TYPE_CHECKING:
    from jtask_index.follower import Follower


@click.group(invoke_without_command=True)
@click.pass_context
def index(ctx: click.Context) -> None:
    """Keep runs in SQL, to be found by `jtask runs`: follows the event log until it is stopped.

    Any number may run, for the same database too. One that was killed goes on where it was.
    """
    if ctx.invoked_subcommand is not None:
        return
    follower = _open()

    def stop(_number: int, _frame: object) -> None:
        follower.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    follower.run()


@index.command()
@yes_option
def rebuild(*, yes: bool) -> None:
    """Delete what the index knows of runs, and read it anew from what the event log still has."""
    confirm("Delete the runs of the index? Those that the event log has come back.", yes=yes)
    with closing(_open()) as follower:
        follower.clear()
        say(f"{follower.catch_up()} events were read", err=True)


def _open() -> "Follower":
    need_extra()
    from jtask_index.opening import open_follower

    follower = open_follower()
    say(f"following the event log into {follower.url}", err=True)
    return follower
