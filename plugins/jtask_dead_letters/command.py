"""`jtask dead`: look after dead letters."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jtask.cli.instants import PAST
from jtask.cli.output import say, say_json
from jtask.cli.parameters import as_json
from jtask.cli.progress import progress_bar
from jtask.cli.prompts import confirm, yes_option
from jtask.worker.exit_codes import ExitCode

if TYPE_CHECKING:
    from jtask_dead_letters.letters import Letter

F = TypeVar("F", bound=Callable[..., Any])
_CONDITIONS = (
    click.option("--task", help="Only dead letters of the task with this key or name."),
    click.option("--error", help="Only dead letters with this type of error, such as ValueError."),
    click.option(
        "--since",
        type=PAST,
        metavar="INSTANT",
        help="Only dead letters since this time (2h means 2 hours ago).",
    ),
    click.option(
        "--until",
        type=PAST,
        metavar="INSTANT",
        help="Only dead letters before this time (2h means 2 hours ago).",
    ),
)


_CHOICE = (
    click.argument("run_ids", nargs=-1, metavar="[ID]..."),
    *_CONDITIONS,
    click.option("--all", "all_", is_flag=True, help="Select all dead letters."),
    yes_option,
    as_json,
)


def _with(parts: Iterable[Callable[[F], F]], command: F) -> F:
    # Decorators apply from the last one up, and click shows them in the order in which they stand.
    for part in reversed(list(parts)):
        command = part(command)
    return command


def _conditions(command: F) -> F:
    return _with(_CONDITIONS, command)


def _of_chosen(verb: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Have a command take ids, conditions or --all, and be called with the ids that are meant.

    Args:
        verb: What it does, to ask whether that is wanted.
    """

    def decorate(act: Callable[..., None]) -> Callable[..., None]:
        @wraps(act)
        def command(
            run_ids: tuple[str, ...],
            *,
            all_: bool,
            yes: bool,
            as_json: bool,
            **conditions: Any,
        ) -> None:
            chosen = _chosen(verb, run_ids, conditions, all_=all_, yes=yes)
            act(chosen, _about(run_ids, conditions), as_json=as_json)

        return _with(_CHOICE, command)

    return decorate


@click.group()
def dead() -> None:
    """Inspect, replay and delete runs that failed for good."""


@dead.command("ls")
@_conditions
@as_json
def ls(*, as_json: bool, **conditions: Any) -> None:
    """List the dead letters, oldest first."""
    from jtask_dead_letters.operations import list_letters

    letters = list_letters(**conditions)
    if as_json:
        say_json([_facts(letter) for letter in letters])
    elif letters:
        _print(letters)
    else:
        say("no dead letters", err=True)


@dead.command()
@click.argument("run_id", metavar="ID")
@as_json
def show(run_id: str, *, as_json: bool) -> None:
    """Show the dead letter of the run ID: reason, error, earlier attempts and arguments."""
    from jtask_dead_letters.operations import find_letter
    from jtask_dead_letters.reporting import letter_json, letter_text

    letter = find_letter(run_id)
    if as_json:
        say_json(_facts(letter) | letter_json(letter))
    else:
        say(letter_text(letter))


@dead.command()
@_of_chosen("Replay")
def replay(chosen: list[str], about: str, *, as_json: bool) -> None:
    """Replay dead letters: each becomes exactly one new run, however often you repeat this."""
    from jtask_dead_letters.bulk import REPLAY, replay_many

    with progress_bar(REPLAY) as tell:
        done = replay_many(chosen, about, tell) if chosen else []
    if as_json:
        say_json([answer._asdict() for answer in done])
    elif not done:
        say("no such dead letters", err=True)
    for answer in done:
        if answer.problem is not None:
            say(f"Error: {answer.problem}", err=True)
        elif not as_json:
            say(f"{answer.run_id}  is replayed as  {answer.new_run_id}")
    if any(answer.problem is not None for answer in done):
        click.get_current_context().exit(ExitCode.FAILED)


@dead.command()
@_of_chosen("Delete")
def drop(chosen: list[str], about: str, *, as_json: bool) -> None:
    """Delete dead letters."""
    from jtask_dead_letters.bulk import DROP, drop_many

    with progress_bar(DROP) as tell:
        dropped = drop_many(chosen, about, tell) if chosen else []
    if as_json:
        say_json(dropped)
    else:
        say(f"{_count(len(dropped))} deleted", err=True)
    for run_id in chosen:
        if run_id not in dropped:
            say(f"Error: there is no dead letter of run {run_id}", err=True)
    if len(dropped) < len(chosen):
        click.get_current_context().exit(ExitCode.FAILED)


def _chosen(
    verb: str, run_ids: tuple[str, ...], conditions: dict[str, Any], *, all_: bool, yes: bool
) -> list[str]:
    """Return the ids of the letters that are meant, once somebody agreed to more than some ids."""
    from jtask_dead_letters.operations import list_letters

    by_condition = any(value is not None for value in conditions.values())
    if bool(run_ids) + by_condition + all_ != 1:
        raise click.UsageError(
            "specify which dead letters: IDs, --all, or some of --task, --error, --since, --until"
        )
    if run_ids:
        # Ids that somebody typed need no question. One that is repeated would count as missing.
        return list(dict.fromkeys(run_ids))
    letters = list_letters(**conditions)
    if letters:
        confirm(f"{verb} {_count(len(letters))}?", yes=yes)
    return [letter.run_id for letter in letters]


def _about(run_ids: tuple[str, ...], conditions: dict[str, Any]) -> str:
    """Return what is meant, for people; empty where the ids say it."""
    given = [f"{name}={value}" for name, value in conditions.items() if value is not None]
    return "" if run_ids else " ".join(given) or "all"


def _count(number: int) -> str:
    return "1 dead letter" if number == 1 else f"{number} dead letters"


def _facts(letter: "Letter") -> dict[str, Any]:
    return {
        "run_id": letter.run_id,
        "task": letter.task,
        "name": letter.name,
        "queue": letter.queue,
        "state": letter.state,
        "error": letter.error,
        "reason": letter.reason,
        "at": letter.at,
    }


def _print(letters: "list[Letter]") -> None:
    from jtask.cli.tables import local_time, print_table

    print_table(
        ("RUN", "TASK", "STATE", "SINCE", "REASON"),
        [
            (letter.run_id, letter.name or "?", letter.state, local_time(letter.at), letter.reason)
            for letter in letters
        ],
    )
