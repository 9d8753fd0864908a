"""`jtask workers`: who lives, and what each executes."""

import time
from typing import Any

import click

from jtask.cli.output import say, say_json
from jtask.cli.parameters import as_json
from jtask.cli.tables import local_time, print_table


@click.group()
def workers() -> None:
    """Look at the workers."""


@workers.command("ls")
@as_json
def ls(*, as_json: bool) -> None:
    """List the living workers, and what each executes.

    A worker tells about itself every ten seconds, and counts as dead when it has not for thirty.
    """
    from jtask.client.living_workers import living_workers
    from jtask.client.process_client import get_client

    client = get_client()
    found = client.io.run(living_workers(client.broker))
    if as_json:
        say_json(found)
    elif found:
        _print(found)
    else:
        say("no workers", err=True)


def _print(found: list[dict[str, Any]]) -> None:
    heads = ("WORKER", "SINCE", "EXECUTES", "QUEUES")
    rows = [
        (
            worker["name"],
            local_time(worker["started"]),
            f"{worker['executing']} of {worker['concurrency']}",
            ", ".join(worker["queues"]),
        )
        for worker in found
    ]
    print_table(heads, rows)
    runs = [(worker["name"], run) for worker in found for run in worker["runs"]]
    if runs:
        click.echo("")
        print_table(("RUN", "TASK", "FOR", "WORKER"), [_row(name, run) for name, run in runs])


def _row(worker: str, run: dict[str, Any]) -> tuple[str, ...]:
    from jtask.durations import describe_seconds

    passed = "" if run["since"] is None else describe_seconds(max(0.0, time.time() - run["since"]))
    return (run["run_id"], run["name"], passed, worker)
