"""`jtask runs`: look at runs and what happened to them."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from jtask.cli.output import say, say_json
from jtask.cli.parameters import as_json
from jtask.cli.run_options import filter_of, filter_options
from jtask.cli.tables import local_time, print_table
from jtask.worker.exit_codes import ExitCode

if TYPE_CHECKING:
    from jtask.cli.run_report import RunReport
    from jtask.run_summaries import RunSummary


@click.group()
def runs() -> None:
    """Inspect runs."""


@runs.command("ls")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@filter_options(since="1h")
@as_json
@click.pass_context
def ls(ctx: click.Context, /, limit: int, *, as_json: bool, **given: Any) -> None:
    """List the newest runs with the latest state of each.

    Reads the index of `jtask index` where there is one that is followed, else the event log; stderr
    says which. Ctrl-C ends a long search: what was found until then is shown.
    """
    wanted = filter_of(given)
    from jtask.cli.run_listing import KEPT, list_runs
    from jtask.cli.run_report import facts_of

    listing = list_runs(wanted, limit)
    if as_json:
        say_json([facts_of(summary) for summary in listing.runs])
    elif listing.runs:
        _print_table(listing.runs)
    else:
        since = wanted.bounds()[0]
        when = "" if since is None else f" since {local_time(since)}"
        say(f"no such runs{when}", err=True)
    say(f"from {listing.source}", err=True)
    if listing.is_cut:
        say(f"only the newest {KEPT} runs were searched: narrow --task or --since", err=True)
    if listing.reached is not None:
        # The whole second again, for some of it may not have been searched.
        when = local_time(listing.reached + 1)
        say(f"interrupted: go on with --until '{when}', up to which all was searched", err=True)
        ctx.exit(ExitCode.INTERRUPTED)


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


def _look_up(run_id: str) -> "RunReport":
    from jtask.cli.run_lookup import events_of, parameters_of
    from jtask.cli.run_parameters import RunParameters
    from jtask.cli.run_report import RunReport
    from jtask.client.process_client import get_client, get_run
    from jtask.errors import EnvelopeError
    from jtask.wire.envelope import decode_outcome

    run = get_run(run_id)  # or raise that this is not a run id
    progress = None
    with suppress(EnvelopeError):  # anybody may have written it
        progress = run.progress()
    client = get_client()
    events = client.io.run(events_of(client.broker, run_id))
    # Without what the task redacts; the message has it all.
    recorded = next((event.arguments for event in events if event.arguments), "")
    parameters = (
        RunParameters.recorded(recorded)
        if recorded
        else client.io.run(parameters_of(client.broker, run_id))
    )
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
    from jtask.durations import describe_seconds

    took = ""
    if summary.started is not None and summary.ended is not None:
        took = describe_seconds(max(0.0, summary.ended - summary.started))
    name = summary.name or "?"
    created = local_time(summary.created)
    return (summary.run_id, name, str(summary.state), str(summary.attempt), created, took)
