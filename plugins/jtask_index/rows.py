"""Runs as rows and back: no I/O."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from jtask.contract import Event
from jtask.foreign_text import sendable
from jtask.run_summaries import RunSummary

_NAME_LENGTH = 500  # characters; PostgreSQL indexes no value of more than 2,700 bytes
_TEXT_LENGTH = 4_000
_LARGEST = 2**31 - 1


class RunState(NamedTuple):
    """A state that a run entered, or something that was noted with one.

    Attributes:
        number: Counts those of the run in order of arrival, from 1.
        state: The state.
        at: When it was entered, seconds since the epoch; likewise the next.
        until: What it waits for; None for most.
        attempt: From 1.
        worker: Who executed that; empty when nobody did.
        detail: What was said.
    """

    number: int
    state: str
    at: float
    until: float | None
    attempt: int
    worker: str
    detail: str


def row_of_run(run: RunSummary, states: int) -> dict[str, Any]:
    """Return the row of `task_run`.

    Args:
        run: The run.
        states: How many rows of `task_run_state` it has.
    """
    return {
        "run_id": run.run_id,
        "task": name(run.task),
        "task_name": name(run.name),
        "run_name": name(run.run_name),
        "queue": name(run.queue),
        "state": run.state,
        "at": run.at,
        "until": run.until,
        "created": run.created,
        "started": run.started,
        "ended": run.ended,
        "took": run.took,
        "attempt": min(run.attempt, _LARGEST),
        "worker": name(run.worker),
        "parent": name(run.parent),
        "version": name(run.version),
        "tags": json.dumps([name(tag) for tag in run.tags]) if run.tags else "",
        "detail": _kept(run.detail, _TEXT_LENGTH),
        "error": name(run.error),
        # As long as whoever sent it may record.
        "arguments": _kept(run.arguments, len(run.arguments)),
        "states": states,
    }


def run_of_row(row: Mapping[str, Any]) -> RunSummary:
    """Return the run of a row of `task_run`."""
    return RunSummary(
        run_id=row["run_id"],
        task=row["task"],
        state=row["state"],
        at=row["at"],
        created=row["created"],
        started=row["started"],
        attempt=row["attempt"],
        worker=row["worker"],
        detail=row["detail"],
        tags=tuple(json.loads(row["tags"])) if row["tags"] else (),
        parent=row["parent"],
        version=row["version"],
        run_name=row["run_name"],
        queue=row["queue"],
        until=row["until"],
        arguments=row["arguments"],
    )


def row_of_state(event: Event, number: int) -> dict[str, Any]:
    """Return the row of `task_run_state`.

    Args:
        event: What happened.
        number: Of the run's rows there.
    """
    return {
        "run_id": event.run_id,
        "number": number,
        "state": str(event.state),
        "at": event.at,
        "until": event.until,
        "attempt": min(event.attempt, _LARGEST),
        "worker": name(event.worker),
        "detail": _kept(event.detail, _TEXT_LENGTH),
    }


def name(text: str) -> str:
    """Return a name as it is kept, and looked up: of a very long one the beginning."""
    return _kept(text, _NAME_LENGTH)


def _kept(text: str, length: int) -> str:
    # Anybody may have written it: PostgreSQL takes no NUL, and no database half a character.
    if text.isascii() and "\0" not in text:
        return text[:length]
    return sendable(text).replace("\0", "\ufffd")[:length]
