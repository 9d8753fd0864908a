"""`jtask queues`: look after queues."""

import time
from typing import TYPE_CHECKING

import click

from jtask.cli.instants import INSTANT
from jtask.cli.output import say, say_json
from jtask.cli.parameters import SECONDS, as_json
from jtask.cli.prompts import confirm, yes_option

if TYPE_CHECKING:
    from jtask.contract import Pause, QueueInfo


@click.group()
def queues() -> None:
    """Manage queues."""


@queues.command("ls")
@as_json
def ls(*, as_json: bool) -> None:
    """List the queues: how many runs wait, execute and are delayed, and which are paused.

    Says so of a queue that no living worker serves.
    """
    from jtask_queues.operations import list_queues, served_queues

    served = served_queues()
    found = list_queues(served)
    if as_json:
        say_json([_facts(info, served) for info in found])
    elif found:
        _print(found, served)
    else:
        say("no queues", err=True)


@queues.command()
@click.argument("queue")
@click.option("--until", type=INSTANT, metavar="INSTANT", help="Resume automatically at this time.")
@click.option(
    "--for", "for_", type=SECONDS, metavar="S", help="Resume automatically after this long."
)
@as_json
def pause(queue: str, until: float | None, for_: float | None, *, as_json: bool) -> None:
    """Pause QUEUE: no run starts until the pause ends or you resume it. Executing runs continue."""
    from jtask.contract import Pause
    from jtask_queues.operations import list_queues, pause_queue

    if until is not None and for_ is not None:
        raise click.UsageError("give either --until or --for, not both")
    seconds = for_ if until is None else until - time.time()
    if seconds is not None and seconds <= 0:
        raise click.UsageError("the end of the pause is in the past: give a later time")
    # A queue may be paused before it has runs; a misspelt name would be paused without a word.
    is_known = queue in [info.name for info in list_queues()]
    end = pause_queue(queue, seconds)
    later = "" if is_known else "; it has no runs, and no worker serves it at the moment"
    said = f"{queue} is {_pause(Pause(end))}{later}"
    _tell(said, {"queue": queue, "paused_until": end}, as_json=as_json)


@queues.command()
@click.argument("queue")
@as_json
def resume(queue: str, *, as_json: bool) -> None:
    """Resume QUEUE."""
    from jtask_queues.operations import resume_queue

    was_paused = resume_queue(queue)
    said = "is resumed" if was_paused else "was not paused"
    _tell(f"{queue} {said}", {"queue": queue, "was_paused": was_paused}, as_json=as_json)


@queues.command()
@click.argument("queue")
@yes_option
@as_json
def purge(queue: str, *, yes: bool, as_json: bool) -> None:
    """Cancel all runs of QUEUE that have not started, including delayed ones.

    Executing runs continue.
    """
    from jtask_queues.operations import purge_queue

    confirm(f"Cancel all runs of {queue} that have not started?", yes=yes)
    count = purge_queue(queue)
    said = f"{count} {'run' if count == 1 else 'runs'} cancelled"
    _tell(said, {"queue": queue, "cancelled": count}, as_json=as_json)


def _facts(info: "QueueInfo", served: frozenset[str]) -> dict[str, object]:
    return {
        "name": info.name,
        "waiting": info.waiting,
        "executing": info.executing,
        "delayed": info.delayed,
        "paused": info.pause is not None,
        "paused_until": info.paused_until,
        "served": info.name in served,
    }


def _tell(text: str, facts: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        say_json(facts)
    else:
        say(text, err=True)


def _print(found: "list[QueueInfo]", served: frozenset[str]) -> None:
    from jtask.cli.tables import print_table

    print_table(
        ("QUEUE", "WAITING", "EXECUTING", "DELAYED", ""),
        [
            (
                info.name,
                str(info.waiting),
                str(info.executing),
                str(info.delayed),
                _remarks(info, served),
            )
            for info in found
        ],
    )


def _remarks(info: "QueueInfo", served: frozenset[str]) -> str:
    paused = [] if info.pause is None else [_pause(info.pause)]
    return ", ".join(paused if info.name in served else [*paused, "no worker serves it"])


def _pause(pause: "Pause") -> str:
    from jtask.cli.tables import local_time

    return "paused" if pause.until is None else f"paused until {local_time(pause.until)}"
