"""Cancel a run wherever it is: the caller's side, and what a worker does for a caller that died.

A cancellation is a wish that is stored until the run is over, in this order:

1. The workers are told of the wish, so that one looks after it later; then it is stored.
2. A waiting run is taken off its queue, then its outcome is stored; or the worker that holds the
   run is asked to end it.
3. Of a run that was taken off its queue the plugins are told (`jtask.client.cancel_notices`).
4. The wish is forgotten once the run has an outcome.

Whoever dies between two steps leaves the wish behind, and a worker that was told of it, or that
comes across it later, goes on with `pursue`. Whoever cancels the same run meanwhile takes over the
wish and does not forget it before the run has an outcome: it may have been taken off its queue
already. All of this happens on the I/O thread.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable

from jtask.client.cancel_requests import Wish, change_wish, forget, readable, store_wish
from jtask.contract import Event, FullBroker, OutcomeRecord, WaitingRun
from jtask.outcomes import CancelAnswer, CancelResult
from jtask.states import State, StateName
from jtask.wire.envelope import decode_settled, encode_settled, settle_unstarted

HOLDERS = "cancel"
"""The topic under which the worker that holds a run is asked to end it."""
WORKERS = "cancelling"
"""The topic under which the workers are told of a wish."""

Record = Callable[[Event], object]
"""Takes the event of a state that was entered without a run context."""

_PATIENCE = 2.0  # seconds for a run that is on its way between the broker and a worker
_ASK_SECONDS = 0.25  # a worker answers at once
_PAUSE_SECONDS = 0.05


async def cancel_run(broker: FullBroker, record: Record, run_id: str, message: str) -> CancelAnswer:
    """End a run; the answer says truly what came of it."""
    if (over := await already_over(broker, run_id)) is not None:
        return over
    wish, is_first = await _make_wish(broker, run_id, message)
    answer = await _pursue_patiently(broker, record, wish)
    if answer.state is not None:
        await _after_end(broker, wish, answer)
    elif answer.result is CancelResult.NOT_FOUND and is_first:
        await forget(broker, run_id)
    return answer


async def cancel_waiting(
    broker: FullBroker, record: Record, run_id: str, message: str
) -> CancelAnswer | None:
    """End a run that waits; None, and nothing else happens, when it does not wait any more."""
    wish, is_first = await _make_wish(broker, run_id, message)
    answer = await _take_off(broker, record, wish)
    if answer is not None:
        await _after_end(broker, wish, answer)
    elif is_first:
        await forget(broker, run_id)
    return answer


async def pursue(broker: FullBroker, record: Record, wish: Wish) -> CancelAnswer | None:
    """Try once to fulfil a wish; None when the run is nowhere to be found for now."""
    answer = await _take_off(broker, record, wish)
    if answer is None:
        answer = await _ask_holder(broker, wish)
    return answer or await already_over(broker, wish.run_id)


async def give_up_lost(broker: FullBroker, record: Record, wish: Wish) -> CancelAnswer:
    """End a run that was taken off its queue by somebody who died before storing its outcome."""
    return await _end(broker, record, wish, wish.head)


async def already_over(broker: FullBroker, run_id: str) -> CancelAnswer | None:
    """Return the answer for a run that has ended; None for one that has not."""
    record = await broker.get(run_id)
    if record is None:
        return None
    return CancelAnswer(run_id, CancelResult.ALREADY_OVER, decode_settled(record.body).state)


def write_question(run_id: str, message: str) -> bytes:
    """Return what workers are asked."""
    return json.dumps({"run_id": run_id, "message": message}).encode()


def read_question(question: bytes) -> tuple[str, str]:
    """Return the run id and the message in a question."""
    asked = json.loads(question)
    return str(asked["run_id"]), str(asked["message"])


async def _pursue_patiently(broker: FullBroker, record: Record, wish: Wish) -> CancelAnswer:
    deadline = time.monotonic() + _PATIENCE
    while True:
        answer = await pursue(broker, record, wish)
        is_promise = answer is not None and _is_promise(answer)
        if answer is not None and not is_promise:
            return answer
        if time.monotonic() > deadline:
            result = CancelResult.INTERRUPTED if is_promise else CancelResult.NOT_FOUND
            return CancelAnswer(wish.run_id, result)
        if not is_promise:
            await asyncio.sleep(_PAUSE_SECONDS)
        elif kept := await _kept_promise(broker, wish.run_id):
            return kept


def _is_promise(answer: CancelAnswer) -> bool:
    """Tell whether a worker said that a run never starts, whose end is not known to be stored.

    Should that worker die before, another one gets the run and may start it.
    """
    return answer.result is CancelResult.NEVER_STARTS and answer.state is None


async def _kept_promise(broker: FullBroker, run_id: str) -> CancelAnswer | None:
    """Wait until the end of a run is stored; None when that does not happen for a while."""
    stored = asyncio.Event()
    watch = await broker.watch(run_id, lambda _: stored.set(), stored.set)
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


async def _make_wish(broker: FullBroker, run_id: str, message: str) -> tuple[Wish, bool]:
    """Store a wish, or take over the one that is there; tell whether it is the first."""
    # One worker that knows is enough: it goes on should this process die.
    question = write_question(run_id, message)
    await broker.ask(WORKERS, question, timeout=_ASK_SECONDS, answers=1)
    return await store_wish(broker, run_id, message)


async def _take_off(broker: FullBroker, record: Record, wish: Wish) -> CancelAnswer | None:
    found: WaitingRun | None = await broker.find_waiting(wish.run_id)
    if found is not None and not wish.head:
        # Before it is taken off: should this process die then, nobody else knows what it was.
        wish = wish.seen(found)
        await change_wish(broker, wish)
    if found is None or not await broker.cancel(wish.run_id):
        return None
    return await _end(broker, record, wish, found.body)


async def _after_end(broker: FullBroker, wish: Wish, answer: CancelAnswer) -> None:
    """Forget the wish, once the plugins have been told; others who ended the run see to that."""
    if not wish.ended(answer.state):
        await forget(broker, wish.run_id)
    elif answer.result is CancelResult.NEVER_STARTS and answer.state is not None:
        from jtask.client.cancel_notices import announce  # much to import, and seldom needed

        await announce(broker, wish.run_id, answer.state)


async def _ask_holder(broker: FullBroker, wish: Wish) -> CancelAnswer | None:
    question = write_question(wish.run_id, wish.message)
    answers = await broker.ask(HOLDERS, question, timeout=_ASK_SECONDS, answers=1)
    return CancelAnswer(wish.run_id, CancelResult(answers[0].decode())) if answers else None


async def _end(broker: FullBroker, record: Record, wish: Wish, body: bytes) -> CancelAnswer:
    """Store the outcome of a run that nobody will execute; the first outcome stands."""
    run_id = wish.run_id
    envelope = readable(run_id, body)
    state = State(StateName.CANCELLED, time.time(), wish.message, wish.details)
    outcome = OutcomeRecord(run_id, encode_settled(settle_unstarted(run_id, envelope, state)))
    if not await broker.put(outcome) and (over := await already_over(broker, run_id)):
        return over
    record(
        Event(run_id, state.name, state.at, envelope.task_key, envelope.attempt, "", wish.message)
    )
    if envelope.blob is not None:
        await broker.delete_blob(f"{run_id}.args")
    return CancelAnswer(run_id, CancelResult.NEVER_STARTS, state)
