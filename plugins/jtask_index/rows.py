"""Runs as rows and back: no I/O."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from jtask.contract import Event
from jtask.foreign_text import sendable
from jtask.run_summaries import RunSummary

_NAME_LENGTH = 500  # characters; PostgreSQL indexes no value of more than 2,700 bytes
_TEXT_LENGTH = 4_000
_LARGEST = 2**31 - 1

RUN_FIELDS = (
    "run_id",
    "task",
    "state",
    "at",
    "created",
    "started",
    "attempt",
    "worker",
    "detail",
    "tags",
    "parent",
    "version",
    "run_name",
    "queue",
    "until",
    "arguments",
    "error",
    "trace_id",
)
"""The columns of `task_run` that make a `RunSummary`, in its order."""

LATEST_COLUMNS = (
    "state",
    "at",
    "until",
    "started",
    "ended",
    "took",
    "attempt",
    "worker",
    "detail",
    "error",
    "trace_id",
    "states",
)
"""The columns of `task_run` that a state changes; to write others changes their indexes too."""

TOLD_COLUMNS = (
    "task",
    "task_name",
    "run_name",
    "queue",
    "created",
    "parent",
    "version",
    "tags",
    "arguments",
)
"""Those that are said once."""


_TAGS = RUN_FIELDS.index("tags")


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


def run_of_row(row: Sequence[Any]) -> RunSummary:
    """Return the run of a row with RUN_FIELDS, and perhaps more behind them."""
    run = RunSummary(*row[: len(RUN_FIELDS)])
    tags = row[_TAGS]
    run.tags = tuple(json.loads(tags)) if tags else ()
    return run


def latest_values(run: RunSummary, states: int) -> tuple[Any, ...]:
    """Return the values of LATEST_COLUMNS.

    Args:
        run: The run.
        states: How many rows of `task_run_state` it has.
    """
    return (
        run.state,
        run.at,
        run.until,
        run.started,
        run.ended,
        run.took,
        run.attempt,
        run.worker,
        run.detail,
        run.error,
        run.trace_id,
        states,
    )


def told_values(run: RunSummary) -> tuple[Any, ...]:
    """Return the values of TOLD_COLUMNS."""
    return (
        run.task,
        run.name,
        run.run_name,
        run.queue,
        run.created,
        run.parent,
        run.version,
        json.dumps(run.tags, ensure_ascii=False) if run.tags else "",
        run.arguments,
    )


def state_values(event: Event, number: int) -> tuple[Any, ...]:
    """Return the values of all columns of `task_run_state`.

    Args:
        event: What happened.
        number: Of the run's rows there.
    """
    return (
        event.run_id,
        number,
        event.state,
        event.at,
        event.until,
        event.attempt,
        event.worker,
        event.detail,
    )


def storable(events: Iterable[Event]) -> list[Event]:
    """Return events of which every text can be kept, and looked for by an index."""
    return [event if _is_storable(event) else _made_storable(event) for event in events]


def name(text: str) -> str:
    """Return a name as it is kept, and looked up: of a very long one the beginning."""
    return _kept(text, _NAME_LENGTH)


def storable_text(text: str) -> str:
    """Return a text as it is kept."""
    return _kept(text, len(text))


def _is_storable(event: Event) -> bool:
    # All at once, for each event comes by here, and nearly none has anything odd.
    texts = (
        f"{event.task}{event.worker}{event.detail}{event.parent}{event.version}{event.queue}"
        f"{event.run_name}{event.error}{event.trace_id}{''.join(event.tags)}"
    )
    return (
        len(texts) <= _NAME_LENGTH
        and texts.isascii()
        and "\0" not in texts
        and event.attempt <= _LARGEST
        and (not event.arguments or event.arguments.isascii())
        and type(event.state) is str
    )


def _made_storable(event: Event) -> Event:
    return event._replace(
        task=name(event.task),
        state=str(event.state),
        worker=name(event.worker),
        parent=name(event.parent),
        version=name(event.version),
        queue=name(event.queue),
        run_name=name(event.run_name),
        error=name(event.error),
        trace_id=name(event.trace_id),
        tags=tuple(map(name, event.tags)),
        detail=_kept(event.detail, _TEXT_LENGTH),
        attempt=min(event.attempt, _LARGEST),
        # As long as whoever sent it may record.
        arguments=storable_text(event.arguments),
    )


def _kept(text: str, length: int) -> str:
    # Anybody may have written it: PostgreSQL takes no NUL, and no database half a character.
    return sendable(text).replace("\0", "\ufffd")[:length]
