"""`jtask logs`: read and follow what a run logs."""

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from jtask.cli.output import say, say_json
from jtask.cli.parameters import as_json

if TYPE_CHECKING:
    from jtask.client import Client
    from jtask.client.log_reader import LogReader
    from jtask.contract import LogLine

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_CLOSE_SECONDS = 5.0


@click.command()
@click.argument("run_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option(
    "--level",
    type=click.Choice(_LEVELS, case_sensitive=False),
    default="DEBUG",
    help="Only records of this level and above.",
)
@as_json
def logs(run_id: str, level: str, *, follow: bool, as_json: bool) -> None:
    """Print what the run ID has logged, and with -f what it logs from now on."""
    from jtask.client import get_client, get_run

    get_run(run_id)  # or raise that this is not a run id
    client = get_client()
    least = logging.getLevelNamesMapping()[level.upper()]
    is_empty = True
    with _reading(client, run_id) as reader:
        for page in _pages(client, reader, follow=follow and _can_end(client, run_id)):
            is_empty = False
            _print([line for line in page if line.level >= least], as_json=as_json)
    if is_empty:
        _explain(client, run_id)


@contextmanager
def _reading(client: "Client", run_id: str) -> "Generator[LogReader]":
    from jtask.client.log_reader import LogReader

    async def make() -> LogReader:
        return LogReader(client.broker.logs, client.broker.results, run_id)

    reader = client.io.run(make())
    try:
        yield reader
    finally:
        client.io.run(reader.close(), timeout=_CLOSE_SECONDS)


def _pages(client: "Client", reader: "LogReader", *, follow: bool) -> "Iterator[list[LogLine]]":
    # One after the other: whoever reads slowly holds no more than a page in memory.
    read = reader.follow if follow else reader.read
    while (page := client.io.run(read())) is not None:
        yield page


def _can_end(client: "Client", run_id: str) -> bool:
    from jtask.cli.run_lookup import check_can_end
    from jtask.errors import RunNotFound

    try:
        check_can_end(client, run_id)
    except RunNotFound:
        return False  # its log may be there all the same
    return True


def _explain(client: "Client", run_id: str) -> None:
    from jtask.cli.run_lookup import check_can_end

    check_can_end(client, run_id)
    say(f"run {run_id} has logged nothing so far", err=True)


def _print(lines: "Iterable[LogLine]", *, as_json: bool) -> None:
    if as_json:
        for line in lines:
            say_json(_facts(line))
    elif text := "\n".join(map(text_of, lines)):
        say(text)


def _facts(line: "LogLine") -> dict[str, object]:
    facts: dict[str, object] = line._asdict()
    return facts | {"level": logging.getLevelName(line.level)}


def text_of(line: "LogLine") -> str:
    """Return a line of a log as people read it."""
    import time

    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.at))
    attempt = f"[attempt {line.attempt}] " if line.attempt > 1 else ""
    # Further lines are indented: none of them begins as a record does.
    message = line.message.rstrip("\n").replace("\n", "\n    ")
    head = f"{when},{int(line.at % 1 * 1000):03d} {logging.getLevelName(line.level)}"
    return f"{head} {attempt}{line.logger}: {message}"
