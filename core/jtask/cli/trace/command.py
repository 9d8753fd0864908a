"""`jtask trace`: read what happened, and print it."""

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING

import click

from jtask.cli.output import say, say_coloured, say_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jtask.cli.trace.descendants import Descendants
    from jtask.cli.trace.tree import TracedRun
    from jtask.cli.trace.waterfall import Pen
    from jtask.contract import Broker, Event

_PIPED = 100  # characters of a line that no terminal breaks


@click.command()
@click.argument("run_id", metavar="ID")
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="Show at most so many nested runs; the others are counted.",
)
@click.option(
    "--children",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Show at most so many nested runs of one run.",
)
@click.option("--json", "as_json", is_flag=True, help="Print OTLP JSON, for a collector.")
def trace(run_id: str, limit: int, children: int, *, as_json: bool) -> None:
    """Show the run ID over time: its attempts, its waits and its nested runs.

    All of it is drawn from the event log. What still executes is drawn up to now.
    """
    root, now = _look_up(run_id)
    if as_json:
        from jtask.cli.trace.otlp import to_otlp

        say_json(to_otlp(root))
    else:
        _print(root, limit, children, now)


def _look_up(run_id: str) -> "tuple[TracedRun, float]":
    from jtask.cli.trace.tree import build_tree
    from jtask.client.process_client import get_client, get_run
    from jtask.errors import RunNotFound

    get_run(run_id)  # or raise that this is not a run id
    client = get_client()
    events = client.io.run(_read(client.broker, run_id))
    if not events:
        raise RunNotFound(
            f"no event of run {run_id} is kept: it never existed, its events have expired "
            f"(JTASK_EVENT_TTL), or it belongs to another JTASK_URL or JTASK_NAMESPACE"
        )
    now = time.time()
    return build_tree(run_id, events, now), now


async def _read(broker: "Broker", run_id: str) -> "list[Event]":
    """Return the events of a run and of all runs below it.

    The log is read twice from the run's beginning on: in the first pass nobody knows yet to which
    of the runs an event belongs, and to keep them all would take memory without bound.
    """
    from jtask.cli.run_lookup import CLOCK_MARGIN, events_of
    from jtask.cli.trace.descendants import Descendants
    from jtask.ids import created_at

    if not await events_of(broker, run_id):
        return []
    since = created_at(run_id) - CLOCK_MARGIN
    below = Descendants(run_id)
    async for event in _until_over(broker, since, below):
        below.add(event)
    events = _until_over(broker, since, below)
    return [event async for event in events if event.run_id in below.run_ids]


async def _until_over(
    broker: "Broker", since: float, below: "Descendants"
) -> "AsyncIterator[Event]":
    """Yield events of all runs until no more can come of those below."""
    async for event in broker.events.read(since=since):
        if below.until is not None and event.at > below.until:
            return
        yield event


def _print(root: "TracedRun", limit: int, children: int, now: float) -> None:
    from jtask.cli.trace.rows import rows_of
    from jtask.cli.trace.tree import select
    from jtask.cli.trace.waterfall import draw

    runs = [run.timeline for run in root.with_descendants()]
    begin, end = min(run.begin for run in runs), max(run.end for run in runs)
    say(_headline(root, len(runs), begin, end, now))
    rows = rows_of(root, select(root, limit, children))
    is_coloured = _wants_colour()
    for line in draw(rows, begin, end, _pen()):
        say_coloured(line if is_coloured else [(text, None) for text, _ in line])


def _headline(root: "TracedRun", count: int, begin: float, end: float, now: float) -> str:
    from jtask.cli.trace.waterfall import moment
    from jtask.durations import describe_seconds

    summary = root.timeline.summary
    took = describe_seconds(end - begin)
    runs = "1 run" if count == 1 else f"{count} runs"
    lasts = "" if end < now else ", not over yet"
    above = f"\ncalled or enqueued by run {summary.parent}" if summary.parent else ""
    return f"run {summary.run_id}: {runs} from {moment(begin)} on, {took}{lasts}{above}\n"


def _pen() -> "Pen":
    from jtask.cli.trace.waterfall import Pen

    try:
        "│├└█▒░╌·".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        is_plain = True
    else:
        is_plain = False
    return Pen(shutil.get_terminal_size((_PIPED, 24)).columns, is_plain)


def _wants_colour() -> bool:
    is_unwanted = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not is_unwanted
