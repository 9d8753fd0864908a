"""`jtask runs`: look at runs and what happened to them."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from jtask.cli.parameters import SECONDS, as_json

if TYPE_CHECKING:
    from jtask.cli.history import RunSummary
    from jtask.contract import Event
    from jtask.outcomes import SettledRun

_CLOCK_MARGIN = 60.0  # seconds by which the clocks of callers, workers and broker may differ


@click.group()
def runs() -> None:
    """Look at runs."""


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
    from jtask.cli.history import is_of_task, summarise

    wanted = _state_name(state)
    events = _read_events(time.time() - since)
    found = [
        summary
        for summary in summarise(events).values()
        if (wanted is None or summary.state == wanted)
        and (task is None or is_of_task(summary.task, task))
    ]
    # Ids are ordered by time.
    found.sort(key=lambda summary: summary.run_id, reverse=True)
    if as_json:
        click.echo(json.dumps([asdict(s) | {"ended": s.ended} for s in found[:limit]]))
    elif found:
        _print_table(found[:limit])
    else:
        click.echo("no runs", err=True)


@runs.command()
@click.argument("run_id", metavar="ID")
@as_json
def show(run_id: str, *, as_json: bool) -> None:
    """Show everything that is known of the run ID."""
    from jtask.cli.run_report import RunReport
    from jtask.errors import RunNotFound

    events, outcome = _look_up(run_id)
    if not events and outcome is None:
        raise RunNotFound(f"nothing is known of a run {run_id}: it never was, or is kept no more")
    report = RunReport(run_id, events, outcome)
    click.echo(json.dumps(report.to_json(), ensure_ascii=False) if as_json else report.to_text())


def _state_name(given: str | None) -> str | None:
    from jtask.states import StateName

    if given is None:
        return None
    names = {name.lower(): name.value for name in StateName}
    if given.lower() not in names:
        raise click.BadParameter(
            f"there is no state {given!r}: use one of {', '.join(StateName)}",
            param_hint="'--state'",
        )
    return names[given.lower()]


def _read_events(since: float, wanted: "Callable[[Event], bool]" = lambda _: True) -> "list[Event]":
    from jtask.client import get_client

    client = get_client()

    async def read() -> "list[Event]":
        return [event async for event in client.broker.read(since=since) if wanted(event)]

    return client.io.run(read())


def _look_up(run_id: str) -> "tuple[list[Event], SettledRun | None]":
    from jtask.client import get_client, get_run
    from jtask.envelope import decode_settled
    from jtask.ids import created_at

    get_run(run_id)  # or raise that this is no run id
    events = _read_events(created_at(run_id) - _CLOCK_MARGIN, lambda e: e.run_id == run_id)
    client = get_client()
    record = client.io.run(client.broker.get(run_id))
    return events, None if record is None else decode_settled(record.body)


def _print_table(summaries: "Sequence[RunSummary]") -> None:
    rows = [("RUN", "TASK", "STATE", "ATTEMPT", "CREATED", "TOOK")]
    rows += [_row(summary) for summary in summaries]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def _row(summary: "RunSummary") -> tuple[Any, ...]:
    from jtask.cli.history import name_of
    from jtask.durations import describe_seconds

    took = ""
    if summary.started is not None and summary.ended is not None:
        took = describe_seconds(max(0.0, summary.ended - summary.started))
    created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(summary.created))
    name = name_of(summary.task) or "?"
    return (summary.run_id, name, str(summary.state), str(summary.attempt), created, took)
