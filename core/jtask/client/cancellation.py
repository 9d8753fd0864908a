"""Cancel a run wherever it is: the caller's side, and what a worker does for a caller that died.

A cancel request is stored until the run is over. The order of the steps matters:

1. The workers are notified of the request, so that one of them follows it up; then it is stored.
2. A waiting run is taken off its queue, then its outcome is stored; or the worker that holds the
   run is asked to end it.
3. The plugins are notified of a run that was taken off its queue (`jtask.client.cancel_notices`),
   at once of its end (`jtask_stored`).
4. The request is deleted once the run has an outcome.

A process that dies between two steps leaves the request behind; a worker that was notified, or
finds it later, continues with `try_cancel`. A second caller that cancels the same run meanwhile
takes the request over and does not delete it before the run has an outcome: the run may have been
taken off its queue already. A worker that gets a run in the very moment in which it is taken off
may not know of it for seconds, and die with it: such a request stays, too. All of this happens on
the I/O thread.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable

from jtask.client.cancel_requests import (
    CancelRequest,
    change_cancel_request,
    find_cancel_request,
    forget,
    kept_message,
    readable,
    store_cancel_request,
)
from jtask.client.end_news import tell_of_end
from jtask.client.questions import ask_patiently
from jtask.contract import Broker, Event, OutcomeRecord, WaitingRun
from jtask.errors import EnvelopeError
from jtask.ids import is_run_id
from jtask.outcomes import CancelAnswer, CancelResult
from jtask.states import State, StateName
from jtask.wire.envelope import Envelope, decode_outcome, encode_outcome, unstarted_record
from jtask.wire.fields import known_fields

CANCEL_RUN = "cancel"
"""The topic under which the worker that holds a run is asked to end it."""
CANCEL_REQUESTED = "cancelling"
"""The topic under which the workers are notified of a request."""
CANCELLED_AT_ONCE = 256
"""Where many are to be. Each waits for a moment whether a worker says that it holds the run."""

RecordEvent = Callable[[Event], object]
"""Takes the event of a state that was entered without a run context."""

_PATIENCE = 2.0  # seconds for a run that is on its way between the broker and a worker
_LONG_PATIENCE = 10.0
"""Seconds for one that was seen on its queue: a worker that follows the request up may have taken
it off, and store its end only once an election is over."""
_ASK_SECONDS = 0.25  # a worker answers at once
_LONGEST_ASK_SECONDS = 2.0  # but not one that C code in a task keeps busy
_PAUSE_SECONDS = 0.05  # a run on its way is in nobody's hands for milliseconds


async def cancel_run(
    broker: Broker, record: RecordEvent, run_id: str, message: str
) -> CancelAnswer:
    """End a run, wherever it is.

    Args:
        broker: Where the run is.
        record: Takes the event of its end, if it is ended here.
        run_id: The run.
        message: Why, kept with its state.

    Returns:
        CancelAnswer: What has come of it. "Never starts" is said once the outcome is stored: a
        worker that only promised it might die, and the run would start elsewhere.

    Raises:
        BrokerError: The broker cannot be asked; the request may stay, and be followed up.
    """
    if not is_run_id(run_id):
        return CancelAnswer(run_id, CancelResult.NOT_FOUND)
    if (over := await already_over(broker, run_id)) is not None:
        return over
    request, is_first = await _store_request(broker, run_id, message)
    answer = await _cancel_patiently(broker, record, request)
    if answer.state is not None:
        await _after_end(broker, request, answer)
    elif answer.result is CancelResult.NOT_FOUND and is_first:
        await _withdraw(broker, run_id)
    return answer


async def cancel_waiting(
    broker: Broker, record: RecordEvent, run_id: str, message: str
) -> CancelAnswer | None:
    """End a run that waits; the arguments and errors are those of `cancel_run`.

    Returns:
        CancelAnswer | None: What has come of it; None when the run does not wait any more, which
        changes nothing.
    """
    request, is_first = await _store_request(broker, run_id, message)
    answer = await _take_off(broker, record, request)
    if answer is not None:
        await _after_end(broker, request, answer)
    elif is_first:
        await _withdraw(broker, run_id)
    return answer


async def try_cancel(
    broker: Broker, record: RecordEvent, request: CancelRequest, seconds: float = _ASK_SECONDS
) -> CancelAnswer | None:
    """Try once to fulfil a request.

    Args:
        broker: Where the run is.
        record: Takes the event of its end, if it is ended here.
        request: The request, as it is stored.
        seconds: How long whoever holds the run has to answer.

    Returns:
        CancelAnswer | None: What has come of it; None when the run is nowhere to be found just
        now: it may be on its way between the broker and a worker.
    """
    answer = await _take_off(broker, record, request)
    if answer is None:
        answer = await _ask_holder(broker, request, seconds)
    return answer or await already_over(broker, request.run_id)


async def settle_orphan(
    broker: Broker, record: RecordEvent, request: CancelRequest
) -> CancelAnswer:
    """End a run that was taken off its queue by somebody who died before storing its outcome.

    Args:
        broker: Where the outcome is stored.
        record: Takes the event of its end.
        request: The request; its `head` is all that is left of the run.
    """
    answer = await _end(broker, record, request, request.head)
    if answer.result is CancelResult.NEVER_STARTS:
        await _delete_arguments(broker, request.run_id, request.envelope)
    return answer


async def already_over(broker: Broker, run_id: str) -> CancelAnswer | None:
    """Return the answer for a run that has ended; None for one that has not."""
    record = await broker.results.get(run_id)
    if record is None:
        return None
    try:
        state = decode_outcome(record.body).state
    except EnvelopeError as error:
        # The first outcome stands, whatever it is.
        state = State(StateName.CRASHED, time.time(), str(error))
    return CancelAnswer(run_id, CancelResult.ALREADY_OVER, state)


def write_question(run_id: str, message: str) -> bytes:
    """Return what workers are asked."""
    return json.dumps({"run_id": run_id, "message": message}).encode()


def read_question(question: bytes) -> tuple[str, str]:
    """Return the run id and the message in a question; empty where it has none."""
    asked = known_fields(question)
    return str(asked.get("run_id", "")), kept_message(str(asked.get("message", "")))


async def _cancel_patiently(
    broker: Broker, record: RecordEvent, request: CancelRequest
) -> CancelAnswer:
    begun, patience, seconds = time.monotonic(), _PATIENCE, _ASK_SECONDS
    while True:
        answer = await try_cancel(broker, record, request, seconds)
        is_promise = answer is not None and _is_promise(answer)
        if answer is not None and not is_promise:
            return _for_request(request, answer)
        is_late = time.monotonic() > begun + patience
        if is_promise:
            if is_late:
                return CancelAnswer(request.run_id, CancelResult.INTERRUPTED)
            if kept := await _kept_promise(broker, request.run_id):
                return kept
            continue
        is_held = await broker.queues.find(request.run_id) is not None
        if is_held and seconds < _LONGEST_ASK_SECONDS:
            # Somebody says to hold it, or it would be off its queue.
            seconds = min(2 * seconds, _LONGEST_ASK_SECONDS)
        elif is_late:
            if patience == _LONG_PATIENCE or not await _was_seen(broker, request.run_id):
                return CancelAnswer(request.run_id, CancelResult.NOT_FOUND)
            patience = _LONG_PATIENCE
        await asyncio.sleep(_PAUSE_SECONDS)


def _for_request(request: CancelRequest, answer: CancelAnswer) -> CancelAnswer:
    """Return the answer for a run that somebody else may have ended for this request."""
    if answer.result is CancelResult.ALREADY_OVER and request.ended(answer.state):
        return CancelAnswer(request.run_id, CancelResult.NEVER_STARTS, answer.state)
    return answer


def _is_promise(answer: CancelAnswer) -> bool:
    """Tell whether a worker said that a run never starts, whose end is not known to be stored.

    Should that worker die before, another one gets the run and may start it.
    """
    return answer.result is CancelResult.NEVER_STARTS and answer.state is None


async def _kept_promise(broker: Broker, run_id: str) -> CancelAnswer | None:
    """Wait until the end of a run is stored; None when that does not happen for a while."""
    stored = asyncio.Event()
    # Listen, then ask: an outcome that is stored in between is pushed.
    watch = await broker.results.watch(run_id, lambda _: stored.set(), stored.set)
    try:
        over = await already_over(broker, run_id)
        if over is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stored.wait(), _PATIENCE)
            over = await already_over(broker, run_id)
    finally:
        await watch.close()
    if over is None or over.state is None or over.state.name is not StateName.CANCELLED:
        return over
    return CancelAnswer(run_id, CancelResult.NEVER_STARTS, over.state)


async def _store_request(broker: Broker, run_id: str, message: str) -> tuple[CancelRequest, bool]:
    """Store a request, or take over the one that is there; tell whether it is the first."""
    # One worker that knows is enough: it continues should this process die.
    message = kept_message(message)
    question = write_question(run_id, message)
    await ask_patiently(broker, CANCEL_REQUESTED, question, timeout=_ASK_SECONDS, answers=1)
    return await store_cancel_request(broker, run_id, message)


async def _take_off(
    broker: Broker, record: RecordEvent, request: CancelRequest
) -> CancelAnswer | None:
    found: WaitingRun | None = await broker.queues.find(request.run_id)
    if found is not None and request != request.seen(found):
        # Before it is taken off: should this process die then, nobody else knows what it was.
        request = request.seen(found)
        await change_cancel_request(broker, request)
    if found is None or not await broker.runs.cancel(request.run_id):
        return None
    # Before the outcome: until that is stored, the request has a worker continue from here.
    await _delete_arguments(broker, request.run_id, readable(request.run_id, found.body))
    return await _end(broker, record, request, found.body)


async def _withdraw(broker: Broker, run_id: str) -> None:
    """Delete a request that came to nothing, unless it may have taken the run off its queue.

    That of an earlier caller is never withdrawn: its run may be off the queue already (step 2).
    """
    if (
        not await _was_seen(broker, run_id)
        or await broker.queues.find(run_id) is not None
        or await already_over(broker, run_id) is not None
    ):
        await forget(broker, run_id)


async def _was_seen(broker: Broker, run_id: str) -> bool:
    """Tell whether a run waited on its queue after it was asked to end, and may be off it now."""
    request = await find_cancel_request(broker, run_id)
    return request is not None and bool(request.head)


async def _after_end(broker: Broker, request: CancelRequest, answer: CancelAnswer) -> None:
    """Delete the request once the plugins have been notified, by whoever ended the run."""
    if not request.ended(answer.state):
        await forget(broker, request.run_id)
    elif answer.result is CancelResult.NEVER_STARTS and answer.state is not None:
        from jtask.client.cancel_notices import announce  # much to import, and seldom needed

        await announce(broker, request.run_id, answer.state)


async def _ask_holder(
    broker: Broker, request: CancelRequest, seconds: float
) -> CancelAnswer | None:
    question = write_question(request.run_id, request.message)
    answers = await ask_patiently(broker, CANCEL_RUN, question, timeout=seconds, answers=1)
    try:
        return CancelAnswer(request.run_id, CancelResult(answers[0].decode())) if answers else None
    except ValueError:  # somebody else listens there
        return None


async def _end(
    broker: Broker, record: RecordEvent, request: CancelRequest, body: bytes
) -> CancelAnswer:
    """Store the outcome of a run that nobody will execute; the first outcome stands."""
    run_id = request.run_id
    envelope = readable(run_id, body)
    state = State(StateName.CANCELLED, time.time(), request.message, request.details)
    outcome = OutcomeRecord(run_id, encode_outcome(unstarted_record(run_id, envelope, state)))
    is_first = await broker.results.put(outcome)
    await tell_of_end(broker, run_id)
    # The first outcome stands: the run may have ended while it was cancelled.
    if not is_first and (over := await already_over(broker, run_id)):
        return over
    record(
        Event(
            run_id, state.name, state.at, envelope.task_key, envelope.attempt, "", request.message
        )
    )
    return CancelAnswer(run_id, CancelResult.NEVER_STARTS, state)


async def _delete_arguments(broker: Broker, run_id: str, envelope: Envelope) -> None:
    if envelope.blob is not None:
        await broker.blobs.delete(f"{run_id}.args")
