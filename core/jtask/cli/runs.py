"""`jtask runs`: look at runs and what happened to them."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from jtask.cli.output import say, say_json
from jtask.cli.parameters import SECONDS, as_json
from jtask.cli.tables import local_time, print_table

if TYPE_CHECKING:
    from jtask.cli.history import RunSummary
    from jtask.cli.run_report import RunReport

_FIRST_LOOK = 60.0  # seconds
_FURTHER = 10  # times as far as before
_KEPT = 50_000  # runs, where a state is wanted that a run may still leave


@click.group()
def runs() -> None:
    """Inspect runs."""


@runs.command("ls")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@click.option("--state", help="Only runs in this state, such as Failed.")
@click.option("--task", help="Only runs of the task with this name or key.")
@click.option(
    "--since",
    type=SECONDS,
    default="1h",
    show_default=True,
    metavar="S",
    help="How far to look back, such as 10m or 2d.",
)
@as_json
def ls(limit: int, state: str | None, task: str | None, since: float, *, as_json: bool) -> None:
    """List the newest runs with the latest state of each."""
    from jtask.cli.run_report import facts_of

    wanted = _state_name(state)
    found, is_cut = _find_newest(limit, wanted, task, time.time() - since)
    if as_json:
        say_json([facts_of(summary) for summary in found])
    elif found:
        _print_table(found)
    else:
        say(f"no such runs since {local_time(time.time() - since)}", err=True)
    if is_cut:
        say(f"only the newest {_KEPT} runs were searched: narrow --task or --since", err=True)


@runs.command()
@click.argument("run_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Show its states and progress until it is over.")
@as_json
def show(run_id: str, *, follow: bool, as_json: bool) -> None:
    """Show everything that is known about the run ID."""
    from jtask.cli.run_following import follow as follow_run
    from jtask.errors import RunNotFound

    if follow:
        follow_run(run_id, as_json=as_json)
    report = _look_up(run_id)
    if not report.events and report.outcome is None:
        raise RunNotFound(
            f"nothing is known about run {run_id}: it has no outcome and no event; "
            f"it never existed, is no longer kept, or belongs to another JTASK_URL or "
            f"JTASK_NAMESPACE"
        )
    (say_json(report.to_json()) if as_json else say(report.to_text()))


def _state_name(given: str | None) -> str | None:
    from difflib import get_close_matches

    from jtask.states import StateName

    if given is None:
        return None
    names = {name.lower(): name.value for name in StateName}
    if given.lower() not in names:
        near = get_close_matches(given.lower(), names, n=1)
        hint = f"did you mean {names[near[0]]}?" if near else f"use one of {', '.join(StateName)}"
        raise click.BadParameter(f"there is no state {given!r}: {hint}", param_hint="'--state'")
    return names[given.lower()]


def _find_newest(
    limit: int, state: str | None, task: str | None, since: float
) -> "tuple[list[RunSummary], bool]":
    """Return the newest runs that are wanted, and whether there may be more in what was read.

    The event log is read forwards only. To see the newest first, a short while is read, then one
    ten times as long, until enough of the runs that were created in it are found.
    """
    from jtask.cli.history import NewestRuns
    from jtask.cli.run_lookup import CLOCK_MARGIN
    from jtask.client.client import get_client

    client = get_client()
    kept = limit if state is None else max(limit, _KEPT)

    async def read(since: float) -> NewestRuns:
        newest = NewestRuns(kept, task)
        async for event in client.broker.events.read(since=since):
            newest.add(event)
        return newest

    now, look = time.time(), _FIRST_LOOK
    while now - look > since:
        # From a little earlier, for clocks differ; what was created before is left out again below.
        newest = client.io.run(read(now - look - CLOCK_MARGIN))
        found = newest.summaries(state, now - look)
        if len(found) >= limit:
            return found[:limit], False
        look *= _FURTHER
    newest = client.io.run(read(since))
    found = newest.summaries(state)[:limit]
    return found, state is not None and newest.has_forgotten and len(found) < limit


def _look_up(run_id: str) -> "RunReport":
    from jtask.cli.run_lookup import events_of, parameters_of
    from jtask.cli.run_report import RunReport
    from jtask.client.client import get_client, get_run
    from jtask.errors import EnvelopeError
    from jtask.wire.envelope import decode_outcome

    run = get_run(run_id)  # or raise that this is not a run id
    progress = None
    with suppress(EnvelopeError):  # anybody may have written it
        progress = run.progress()
    client = get_client()
    events = client.io.run(events_of(client.broker, run_id))
    parameters = client.io.run(parameters_of(client.broker, run_id))
    record = client.io.run(client.broker.results.get(run_id))
    outcome = None if record is None else decode_outcome(record.body)
    return RunReport(run_id, events, outcome, progress, parameters)


def _print_table(summaries: "Sequence[RunSummary]") -> None:
    heads: tuple[str, ...] = ("RUN", "TASK", "STATE", "ATTEMPT", "CREATED", "TOOK")
    rows = [_row(summary) for summary in summaries]
    # Most tasks give their runs none: no empty column for those.
    if any(summary.run_name for summary in summaries):
        heads = (*heads, "NAME")
        rows = [(*row, one.run_name) for row, one in zip(rows, summaries, strict=True)]
    print_table(heads, rows)


def _row(summary: "RunSummary") -> tuple[str, ...]:
    from jtask.cli.history import name_of
    from jtask.durations import describe_seconds

    took = ""
    if summary.started is not None and summary.ended is not None:
        took = describe_seconds(max(0.0, summary.ended - summary.started))
    name = name_of(summary.task) or "?"
    created = local_time(summary.created)
    return (summary.run_id, name, str(summary.state), str(summary.attempt), created, took)
