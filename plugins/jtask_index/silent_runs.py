"""Runs that are not over and of which nothing was heard for long.

An event is lost with the process that should have sent it. What became of such a run is asked where
the truth is: its outcome, its dead letter, its queue, whoever holds it.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from jtask.client.whereabouts import find_whereabouts
from jtask.contract import Broker, DeadLetter, Event, OutcomeRecord
from jtask.errors import EnvelopeError, ResultExpired, RunNotFound
from jtask.outcomes import SettledRun
from jtask.run_summaries import RunSummary
from jtask.states import EXECUTING, State, StateName
from jtask.wire.envelope import decode_outcome
from jtask.wire.fields import known_fields

GRACE = 10.0
"""Seconds in which the event of an end may still be on its way, with clocks that differ."""

_GONE = "it is gone: it has no outcome, is on no queue and is not executing"


class SilentRun(NamedTuple):
    """A run of which nothing was heard for long.

    Attributes:
        summary: What is known of it.
        states: How many of its states are; another number means that something was heard.
    """

    summary: RunSummary
    states: int


class Answer(NamedTuple):
    """What became of a run.

    Attributes:
        run: It, as it was asked about.
        events: What was not heard of it; empty when nothing can be known any more.
    """

    run: SilentRun
    events: list[Event]


async def ask_about(broker: Broker, runs: Sequence[SilentRun]) -> list[Answer]:
    """Return what became of runs, of those where that is something new; on the I/O loop.

    Raises:
        BrokerError: The broker cannot be asked.
    """
    answers = await asyncio.gather(*(_ask(broker, run) for run in runs))
    return [answer for answer in answers if answer is not None]


async def _ask(broker: Broker, run: SilentRun) -> Answer | None:
    run_id = run.summary.run_id
    try:
        found = await find_whereabouts(broker, run_id)
    except (RunNotFound, ResultExpired) as error:
        letter = await broker.dead_letters.get(run_id)
        if letter is not None:
            return Answer(run, ends_of_letter(run.summary, letter))
        # Of one whose outcome may have expired, nobody can say that it failed.
        is_over = isinstance(error, ResultExpired)
        return Answer(run, [] if is_over else [_event(run.summary, _gone())])
    if isinstance(found, OutcomeRecord):
        events = ends_of_outcome(run.summary, found.body)
        is_new = bool(events) and events[-1].at < time.time() - GRACE
        return Answer(run, events) if is_new else None
    is_new = found.name != run.summary.state and await _is_sure(broker, run_id, found)
    return Answer(run, [_event(run.summary, found)]) if is_new else None


async def _is_sure(broker: Broker, run_id: str, found: State) -> bool:
    """Tell whether a run stands where it was found, and no worker that is silent has it."""
    if found.name in EXECUTING:
        return True
    place = await broker.queues.locate(run_id)
    return place is not None and not place.in_hand


def ends_of_outcome(run: RunSummary, body: bytes) -> list[Event]:
    """Return what a stored outcome says of a run that was not heard; nothing if it is unreadable.

    Args:
        run: What is known of it.
        body: The outcome.
    """
    try:
        outcome = decode_outcome(body)
    except EnvelopeError:
        return []
    end = Event(
        run.run_id,
        str(outcome.state.name),
        outcome.state.at,
        outcome.task_key,
        outcome.attempt,
        outcome.worker,
        outcome.state.message,
        tags=tuple(outcome.tags),
        parent=outcome.parent or "",
        version=outcome.version or "",
        run_name=outcome.run_name or "",
        error=_error_of(outcome),
    )
    if run.started is not None or outcome.started is None:
        return [end]
    begin = Event(
        run.run_id, str(StateName.RUNNING), outcome.started, outcome.task_key, worker=outcome.worker
    )
    return [begin, end]


def ends_of_letter(run: RunSummary, letter: DeadLetter) -> list[Event]:
    """Return what a dead letter says of a run whose end was not heard.

    Args:
        run: What is known of it.
        letter: It.
    """
    said = known_fields(letter.body.partition(b"\n")[0]).get("outcome")
    events = ends_of_outcome(run, f"{said}\n".encode())
    return events or [_event(run, State(StateName.CRASHED, letter.at, letter.reason))]


def _gone() -> State:
    return State(StateName.CRASHED, time.time(), _GONE)


def _event(run: RunSummary, state: State) -> Event:
    until = state.details.get("until")
    return Event(
        run.run_id,
        str(state.name),
        # Where it stands now is later than what is known of it.
        max(state.at, run.at),
        run.task,
        run.attempt,
        run.worker if state.name in EXECUTING else "",
        state.message,
        until if isinstance(until, float) else None,
    )


def _error_of(outcome: SettledRun) -> str:
    failure = outcome.failure
    return "" if failure is None else failure.type.rpartition(".")[2]
