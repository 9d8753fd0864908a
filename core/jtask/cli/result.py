"""`jtask result`: wait for a run's end and print it."""

import json
from typing import TYPE_CHECKING, Any, cast

import click

from jtask.cli.output import say, say_json, say_value
from jtask.cli.parameters import SECONDS, as_json
from jtask.errors import ResultTimeout
from jtask.worker.exit_codes import ExitCode

if TYPE_CHECKING:
    from jtask.futures import Future
    from jtask.outcomes import SettledRun


@click.command()
@click.argument("run_id", metavar="ID")
@click.option(
    "--timeout",
    type=SECONDS,
    metavar="S",
    help="How long to wait. Exits with code 124 if the run has not ended by then.",
)
@as_json
@click.pass_context
def result(ctx: click.Context, run_id: str, timeout: float | None, *, as_json: bool) -> None:
    """Wait for a run and print its value.

    Prints text as it is and anything else as JSON. If the run failed, or nothing is known about it,
    prints the error to stderr and exits with code 1.
    """
    from jtask.cli.run_lookup import check_can_end
    from jtask.client.process_client import get_client, get_run

    run = get_run(run_id)
    # A misspelt id, or a wrong JTASK_URL, would be waited for without an end.
    check_can_end(get_client(), run_id)
    print_end(ctx, run, timeout, as_json=as_json)


def print_end(
    ctx: click.Context, run: "Future[Any]", timeout: float | None, *, as_json: bool
) -> None:
    """Wait for a run and print its value, or its error and exit.

    Raises:
        ResultTimeout: The run was not over in time.
        JTaskError: The value cannot be read.
    """
    if not run.wait(timeout):
        raise ResultTimeout(f"run {run.run_id} did not end within {timeout:g} seconds")
    ended = cast("SettledRun", run.info)
    if not _has_value(ended):
        _print_failure(ended, as_json=as_json)
        ctx.exit(ExitCode.FAILED)
    value = run.result()
    if as_json:
        say_json({**_facts(ended), "result": _plain(value)})
    else:
        say_value(as_text(value))


def as_text(value: object) -> str:
    """Return a result for people and pipes: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: object) -> object:
    # What is not JSON in itself, such as a date, is shown as it is on the wire.
    from jtask.serialization.tags import tagged

    return tagged(value)


def _has_value(ended: "SettledRun") -> bool:
    from jtask.states import SUCCESSFUL

    return ended.state.name in SUCCESSFUL


def _print_failure(ended: "SettledRun", *, as_json: bool) -> None:
    from jtask.states import StateName

    failure = ended.failure
    if as_json:
        error = None if failure is None else failure.to_json()
        say_json({**_facts(ended), "error": error})
        return
    summary = failure.summary if failure is not None else ended.state.message
    if ended.state.name is StateName.CANCELLED:
        # Where it was interrupted says nothing of why.
        summary = ended.state.message or summary
    elif failure is not None and failure.traceback:
        say(failure.traceback.rstrip(), err=True)
    say(f"Error: run {ended.run_id} {ended.state.name}: {summary}", err=True)


def _facts(ended: "SettledRun") -> dict[str, object]:
    return {
        "run_id": ended.run_id,
        "task": ended.task_key,
        "name": ended.task_name,
        "state": ended.state.name.value,
        "message": ended.state.message,
        "attempt": ended.attempt,
        "run_time": ended.run_time,
    }
