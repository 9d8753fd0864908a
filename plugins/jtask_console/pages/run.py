"""One run: what it was called with, what it did when, what came of it, and what it has logged."""

import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import quote

from jtask.cli.history import summarise
from jtask.cli.run_lookup import events_of
from jtask.cli.run_report import value_text
from jtask.cli.trace.timeline import timeline_of
from jtask.client import get_client, get_run
from jtask.contract import Broker, Event
from jtask.errors import EnvelopeError, RunNotFound
from jtask.outcomes import SettledRun
from jtask.run_summaries import RunSummary
from jtask.states import FINAL, SUCCESSFUL
from jtask.wire.envelope import decode_outcome
from jtask_console.live.hub import CLOCK, run_topic
from jtask_console.pages.family import family_of
from jtask_console.pages.log_tail import LogTail
from jtask_console.pages.page import Asked, Facts, Page
from jtask_index.reader import IndexReader

_PREVIEW = 20_000  # characters of a result


class FoundRun(NamedTuple):
    """What is known of a run.

    Attributes:
        summary: The latest.
        events: What happened to it, by time.
        outcome: What is stored of its end; None before, and when it is no longer kept.
    """

    summary: RunSummary
    events: list[Event]
    outcome: SettledRun | None


async def find_run(asked: Asked, run_id: str) -> FoundRun:
    """Return what the broker and the index know of a run.

    Raises:
        RunNotFound: Nothing.
        BrokerError: The broker cannot be asked.
    """
    get_run(run_id)  # or raise that this is not a run id
    client = get_client()
    record = await client.bridge(client.broker.results.get(run_id))
    summary, events = await asked.index.ask(lambda index: _indexed(index, run_id))
    if summary is None:
        # The index may be a moment behind.
        events = await client.bridge(events_of(client.broker, run_id))
        summary = summarise(events).get(run_id)
    if summary is None:
        raise RunNotFound(
            f"nothing is known about run {run_id}: it never existed, is no longer kept, or belongs "
            f"to another JTASK_URL or JTASK_NAMESPACE"
        )
    outcome = None
    with suppress(EnvelopeError):  # anybody may have written it
        outcome = None if record is None else decode_outcome(record.body)
    return FoundRun(summary, sorted(events, key=lambda event: event.at), outcome)


def _indexed(index: IndexReader, run_id: str) -> tuple[RunSummary | None, list[Event]]:
    summary = index.run(run_id)
    if summary is None:
        return None, []
    states = index.states(run_id)
    return summary, [
        Event(run_id, s.state, s.at, summary.task, s.attempt, s.worker, s.detail, s.until)
        for s in states
    ]


async def _facts(asked: Asked) -> Facts:
    run_id = asked.path["run_id"]
    found = await find_run(asked, run_id)
    summary, outcome = found.summary, found.outcome
    client = get_client()
    progress = None
    with suppress(EnvelopeError):
        progress = await client.bridge(client.find_progress(run_id))
    family = await asked.index.ask(lambda index: family_of(index, summary))
    now = time.time()
    return {
        "title": summary.run_name or summary.name or "Run",
        "section": "runs",
        "run": summary,
        "is_over": summary.state in FINAL,
        "outcome": outcome,
        "failure": None if outcome is None else outcome.failure,
        "history": () if outcome is None else outcome.history,
        "label": summary.state if outcome is None else outcome.state.label,
        "phases": _phases(found, now),
        "arguments": _pretty(summary.arguments),
        "result": None if outcome is None else result_text(outcome),
        "progress": None if summary.state in FINAL else progress,
        "family": family,
        "log": await _log_of(asked, run_id),
        "trace": trace_url(asked.settings.console_trace_url, summary),
    }


def trace_url(template: str | None, run: RunSummary) -> str:
    """Return where the trace of a run is shown; empty where that is not known.

    Args:
        template: The setting.
        run: It.
    """
    if template is None or ("{trace_id}" in template and not run.trace_id):
        return ""
    # Anybody may have written an event.
    trace_id = quote(run.trace_id, safe="")
    return template.replace("{trace_id}", trace_id).replace("{run_id}", run.run_id)


class Stretch(NamedTuple):
    """A phase of a run as it is drawn: where it begins and its length, in hundredths of all."""

    phase: Any
    left: float
    width: float
    tone: str


def _phases(found: FoundRun, now: float) -> list[Stretch]:
    if not found.events:
        return []
    phases = timeline_of(found.events, now).phases
    if not phases:
        return []
    begin, end = phases[0].begin, max(phase.end for phase in phases)
    whole = max(end - begin, 0.001)
    return [
        Stretch(
            phase,
            round(100 * (phase.begin - begin) / whole, 2),
            # Wide enough to be seen.
            round(max(100 * phase.seconds / whole, 0.4), 2),
            _tone(phase),
        )
        for phase in phases
    ]


def _tone(phase: Any) -> str:
    if phase.kind != "attempt":
        return "warn" if phase.kind == "waits to retry" else "calm"
    if not phase.end_state:
        return "live"
    return "good" if phase.end_state in SUCCESSFUL else "bad"


def _pretty(text: str) -> str:
    """Return JSON as people read it; what is none stays as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def result_text(outcome: SettledRun) -> str | None:
    """Return the value of a run as people read it; None when it has none."""
    text = value_text(outcome)
    if text is None:
        return None
    return _pretty(text) if len(text) <= _PREVIEW else f"{text[:_PREVIEW]}..."


async def _log_of(asked: Asked, run_id: str) -> LogTail:
    tail: LogTail = asked.kept.setdefault("log", LogTail(run_id))
    client = get_client()
    await client.bridge(tail.read(client.broker.logs))
    return tail


@asynccontextmanager
async def _hear(asked: Asked, tell: Callable[[], None]) -> AsyncGenerator[None]:
    """Tell the page of lines of the run's log."""
    client = get_client()

    async def watch(broker: Broker) -> Any:
        return await broker.logs.watch(asked.path["run_id"], tell)

    subscription = await client.bridge(watch(client.broker))
    try:
        yield
    finally:
        # Not awaited: whoever closes the page may be cancelled.
        client.io.submit(subscription.close())


def _topics(asked: Asked) -> frozenset[str]:
    return frozenset({run_topic(asked.path["run_id"]), CLOCK})


PAGE = Page(
    "/runs/{run_id}",
    "run.html",
    _facts,
    _topics,
    ("facts", "data", "timeline", "family", "log"),
    _hear,
)
