"""Where a run stands, asked where the truth is: its outcome, whoever holds it, its message.

What happened to it is in the event log, which may lag behind, and forgets. All of this happens on
the I/O thread.
"""

import asyncio
import json
import time
from typing import Any

from jtask.client.cancel_requests import find_cancel_request, readable
from jtask.contract import Broker, OutcomeRecord, RunPlace
from jtask.errors import BrokerError, ResultExpired, RunNotFound
from jtask.ids import client_of, created_at
from jtask.settings import get_settings
from jtask.states import State, StateName

RUN_STATE = "run-state"
"""The topic under which whoever holds a run says where it stands; the question is the run's id."""

_ASK_SECONDS = 0.25  # a worker answers at once
_PAUSE_SECONDS = 0.05  # a run on its way is in nobody's hands for milliseconds
_LONGEST_TEXT = 16_000  # characters of a message that are taken from an answer


async def find_whereabouts(broker: Broker, run_id: str) -> OutcomeRecord | State:
    """Return a run's outcome, or where it stands.

    Takes two round trips, however much has happened to however many runs; longer only for a run
    that was given to a worker which does not answer, and for one that is nowhere: a lease, if the
    process that has made its id is connected and silent.

    Args:
        broker: Where the run is.
        run_id: The run.

    Raises:
        RunNotFound: There is no such run.
        ResultExpired: It is so old that its outcome may have expired.
        BrokerError: The broker cannot be asked.
    """
    found = await _look(broker, run_id)
    if found is None:
        # Between two places, or known only to the other servers of a cluster.
        await asyncio.sleep(_PAUSE_SECONDS)
        found = await broker.results.get(run_id) or await _look(broker, run_id)
    if found is None:
        found = await _cancelled_on_its_queue(broker, run_id)
    if found is None:
        # Only a process can know it that has made its id: it always answers, if it lives, though C
        # code in what it executes, or a busy machine, may have it answer late.
        topic, seconds = call_topic(client_of(run_id)), get_settings().lease
        found = await _ask(broker, topic, run_id, seconds)
    if found is None:
        # It may have ended meanwhile.
        found = await broker.results.get(run_id)
    if found is None:
        raise nowhere(run_id, broker.url)
    return found


async def _cancelled_on_its_queue(broker: Broker, run_id: str) -> State | None:
    """Return the state of a run that was taken off its queue and whose end is not stored yet.

    Whoever cancels it may have died in between; a worker then stores the end.
    """
    request = await find_cancel_request(broker, run_id)
    if request is None or not request.head:
        return None
    return State(StateName.SCHEDULED, created_at(run_id), "it is being cancelled")


async def find_lost_outcome(broker: Broker, run_id: str) -> OutcomeRecord | None:
    """Return if the end of a run that has no outcome yet can still come.

    Args:
        broker: Where the run is.
        run_id: The run.

    Returns:
        OutcomeRecord | None: The outcome, when it came meanwhile.

    Raises:
        RunNotFound: It cannot: there is no such run.
        ResultExpired: It cannot: the run is so old that its outcome may have expired.
        BrokerError: The broker cannot be asked.
    """
    if await broker.queues.locate(run_id) is not None:
        return None
    found = await find_whereabouts(broker, run_id)
    return found if isinstance(found, OutcomeRecord) else None


async def explain_wait(broker: Broker, run_id: str) -> str:
    """Return why a run has not ended, if that is a reason to act; else an empty text.

    Args:
        broker: Where the run is.
        run_id: The run.

    Raises:
        BrokerError: The broker cannot be asked.
    """
    place, living = await asyncio.gather(broker.queues.locate(run_id), broker.heartbeats.living())
    if place is None or place.in_hand:
        return ""
    queue = place.run.queue
    if not any(_serves(info, queue) for _, info in living):
        return f"it waits on the queue {queue!r}, which no worker serves"
    if place.run.at is not None and not place.run.is_parked:
        return f"it is due in {place.run.at - time.time():.0f} seconds"
    return ""


def call_topic(client: str) -> str:
    """Return the topic under which a process says which of its direct calls go on.

    Args:
        client: Its id, see `jtask.ids.client_of`.
    """
    return f"call-state-{client}"


def nowhere(run_id: str, url: str) -> RunNotFound:
    """Return the error for a run that is on no queue, in nobody's hands and has no outcome.

    Args:
        run_id: The run.
        url: Where it was looked for.
    """
    ttl = get_settings().result_ttl
    if created_at(run_id) + ttl < time.time():
        return ResultExpired(
            f"run {run_id} is over or never was: it was made longer ago than the {ttl:g} seconds "
            f"for which results are kept (JTASK_RESULT_TTL)"
        )
    return RunNotFound(
        f"there is no run {run_id} at {url}: it has no outcome, is on no queue and is not "
        f"executing; check that JTASK_URL and JTASK_NAMESPACE are the same as for the caller"
    )


def write_state(state: State) -> bytes:
    """Return what a holder answers."""
    facts = {
        "state": state.name,
        "at": state.at,
        "message": state.message,
        "details": dict(state.details),
    }
    return json.dumps(facts, default=str).encode()


def read_state(answer: bytes) -> State | None:
    """Return what a holder answered; None when that cannot be read."""
    try:
        facts: dict[str, Any] = json.loads(answer)
        message = str(facts["message"])[:_LONGEST_TEXT]
        return State(StateName(facts["state"]), float(facts["at"]), message, dict(facts["details"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


async def _look(broker: Broker, run_id: str) -> OutcomeRecord | State | None:
    # All at once. The outcome counts first: a holder may have stored it a moment ago.
    asking = asyncio.create_task(_ask(broker, RUN_STATE, run_id))
    try:
        outcome, place = await asyncio.gather(
            broker.results.get(run_id), broker.queues.locate(run_id)
        )
        if outcome is not None:
            return outcome
        if place is not None and not place.in_hand:
            return _waiting(place)
        held = await asking
    finally:
        asking.cancel()
    if held is not None:
        return held
    # It may have ended while nobody answered.
    outcome = await broker.results.get(run_id)
    if outcome is not None or place is None:
        return outcome
    return _waiting(place)


async def _ask(
    broker: Broker, topic: str, run_id: str, seconds: float = _ASK_SECONDS
) -> State | None:
    try:
        answers = await broker.requests.ask(topic, run_id.encode(), timeout=seconds, answers=1)
    except BrokerError:
        return None  # what else there is to know may do
    return read_state(answers[0]) if answers else None


def _waiting(place: RunPlace) -> State:
    """Return the state of a run that nobody says to hold."""
    run = place.run
    envelope = readable(run.run_id, run.body)
    details: dict[str, object] = {"queue": run.queue}
    message, at, name = envelope.waits_for, envelope.created, StateName.SCHEDULED
    if run.is_parked:
        message = message or "it waits for its turn"
    elif run.at is not None:
        details["until"] = run.at
    if envelope.history:
        name, message = StateName.AWAITING_RETRY, message or envelope.history[-1].reason
        at = envelope.history[-1].ended or at
    if place.in_hand:
        message = "it was given to a worker that does not answer"
    return State(name, at, message, details)


def _serves(info: bytes, queue: str) -> bool:
    try:
        return queue in json.loads(info)["queues"]
    except (ValueError, TypeError, KeyError):
        return False
