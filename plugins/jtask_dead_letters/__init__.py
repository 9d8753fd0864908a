"""The plugin that keeps what failed for good, and has it executed again.

`jtask_dead_letters.operations` has the functions, `jtask dead` calls them. Runs that lost their
workers too often and messages that cannot be read are kept by the worker itself, without this
plugin.
"""

from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING

from jtask.hooks import hookimpl, only_in, only_with
from jtask.options import Option
from jtask.states import StateName
from jtask_dead_letters.headers import REPLAY_OF

if TYPE_CHECKING:
    import click

    from jtask.bulk_actions import BulkAction
    from jtask.outcomes import Outcome
    from jtask.runtime import RunContext

# Cancelled and NotReady are left out: somebody, or some plugin, wanted that end.
_KEPT = frozenset({StateName.FAILED, StateName.TIMED_OUT, StateName.CRASHED, StateName.EXPIRED})


@hookimpl
def jtask_options() -> list[Option]:
    """Declare `dead_letter`."""
    return [
        Option(
            "dead_letter",
            default=True,
            check=_flag,
            help="Keep runs that failed for good, including those that lost their workers.",
            travels=True,
        )
    ]


@hookimpl
@only_in(*_KEPT)
def jtask_settled(run: "RunContext", outcome: "Outcome") -> None:
    """Have the worker keep a run that failed for good; a direct call raises for its caller."""
    if run.queue is None:
        return
    if not run.task.options["dead_letter"]:
        outcome.dead_letter = None
    # A run that lost its workers comes with a reason already, which says how often.
    elif outcome.dead_letter is None:
        outcome.dead_letter = outcome.state.message or outcome.state.name.value


@hookimpl
def jtask_headers() -> list[str]:
    """Name the header of replays."""
    return [REPLAY_OF]


@hookimpl
@only_with(REPLAY_OF)
def jtask_admit(run: "RunContext") -> Awaitable[None]:
    """Let only one of several replays of a letter start: the one that counts."""
    from jtask_dead_letters.replaying import admitted

    return admitted(run.headers[REPLAY_OF], run.run_id)


@hookimpl
def jtask_bulk_actions() -> "Iterable[BulkAction]":
    """Declare that many letters can be replayed and dropped."""
    from jtask_dead_letters.bulk import ACTIONS

    return ACTIONS


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask dead`."""
    from jtask_dead_letters.command import dead

    cli.add_command(dead)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be True or False, got {value!r}")
    return value
