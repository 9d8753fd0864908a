"""Find runs by a filter: in an index where there is one, else in the event log."""

import time
from typing import NamedTuple, cast

from jtask.cli.history import NewestRuns
from jtask.cli.output import say
from jtask.cli.run_lookup import CLOCK_MARGIN
from jtask.client.process_client import get_client
from jtask.durations import describe_seconds
from jtask.errors import BrokerUnavailable, JTaskError
from jtask.plugins import get_plugins
from jtask.run_filters import RunFilter
from jtask.run_index import IndexPosition, RunIndex
from jtask.run_summaries import RunSummary

KEPT = 50_000  # runs of the log, where a state is wanted that a run may still leave

_FIRST_LOOK = 60.0  # seconds
_FURTHER = 10  # times as far as before
_BEHIND = 1000  # messages of events; beyond, an index has not been followed for a while


class Listing(NamedTuple):
    """What was found.

    Attributes:
        runs: Newest first.
        source: Where, for people.
        is_cut: Whether there may be more among what was not searched.
        reached: Where it was interrupted: back to which instant it was searched, seconds since the
            epoch.
    """

    runs: list[RunSummary]
    source: str
    is_cut: bool = False
    reached: float | None = None


def list_runs(wanted: RunFilter, limit: int) -> Listing:
    """Return the newest runs that are meant.

    Args:
        wanted: Which; it has a `since`.
        limit: How many.
    """
    index = open_index()
    if index is None:
        return _of_log(wanted, limit)
    try:
        if (age := _age(index)) is None:
            say(f"the index {index.url} is not followed now: start `jtask index`", err=True)
            return _of_log(wanted, limit)
        return _of_index(index, wanted, limit, f"the index {index.url}{age}")
    finally:
        index.close()


def open_index() -> RunIndex | None:
    """Open the index of the first plugin that has one; what fails is said."""
    for impl in get_plugins().manager.hook.jtask_run_index.get_hookimpls():
        try:
            index = cast("RunIndex | None", impl.function())
        except JTaskError as error:
            say(f"Warning: plugin {impl.plugin_name!r} cannot open its index: {error}", err=True)
            continue
        if index is not None:
            return index
    return None


def _age(index: RunIndex) -> str | None:
    """Return how old an index is, for people; None for one that is too far behind the log."""
    position = index.position()
    if position is None:
        return None
    client = get_client()
    try:
        bounds = client.io.run(client.broker.events.bounds())
    except BrokerUnavailable:
        return f", {_ago(position)}: the broker cannot be reached"
    behind = bounds.last - position.position
    if bounds.identity != position.identity or behind > _BEHIND:
        return None
    return f", {_ago(position)}" if behind else ""


def _ago(position: IndexPosition) -> str:
    return f"as of {describe_seconds(max(0.0, time.time() - position.changed))} ago"


def _of_index(index: RunIndex, wanted: RunFilter, limit: int, source: str) -> Listing:
    """Return the newest runs that are wanted: enough of them, or those found until Ctrl-C."""
    wanted = wanted.fixed()
    found: list[RunSummary] = []
    after: str | None = None
    reached: float | None = None
    try:
        while len(found) < limit:
            page = index.runs(wanted, after=after, limit=limit - len(found))
            found += page.runs
            after, reached = page.after, page.reached
            if after is None:
                break
    except KeyboardInterrupt:
        return Listing(found, source, reached=reached or time.time())
    return Listing(found, source)


def _of_log(wanted: RunFilter, limit: int) -> Listing:
    """Return the newest runs that are wanted, from the event log.

    It is read forwards only. To see the newest first, a short while is read, then one ten times as
    long, until enough of the runs that were created in it are found.
    """
    client = get_client()
    now = time.time()
    since = wanted.bounds(now)[0] or 0.0
    # Of a task is said with each event; all else may still change, or is said later.
    is_certain = wanted == RunFilter(task=wanted.task, since=wanted.since)
    kept = limit if is_certain else max(limit, KEPT)

    async def read(since: float) -> NewestRuns:
        newest = NewestRuns(kept, wanted.task)
        async for event in client.broker.events.read(since=since):
            newest.add(event)
        return newest

    look = _FIRST_LOOK
    while now - look > since:
        # From a little earlier, for clocks differ; what was created before is left out again below.
        newest = client.io.run(read(now - look - CLOCK_MARGIN))
        found = newest.summaries(wanted, now - look)
        if len(found) >= limit:
            return Listing(found[:limit], "the event log")
        look *= _FURTHER
    newest = client.io.run(read(since))
    found = newest.summaries(wanted)[:limit]
    is_cut = not is_certain and newest.has_forgotten and len(found) < limit
    return Listing(found, "the event log", is_cut)
