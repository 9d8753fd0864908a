"""Cancel a run wherever it is: the caller's side, and what a worker does for a caller that died.

A cancellation is a wish that is stored until the run is over, in this order:

1. The wish is stored, and the workers are told of it.
2. A waiting run is taken off its queue, then its outcome is stored; or the worker that holds the
   run is asked to end it.
3. The wish is forgotten once the run has an outcome.

Whoever dies between two steps leaves the wish behind, and a worker that was told of it, or that
starts later, goes on with `pursue`. All of this happens on the I/O thread.
"""

import asyncio
import json
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from jtask.contract import Event, FullBroker, OutcomeRecord, WaitingRun
from jtask.envelope import Envelope, decode_envelope, decode_settled, encode_settled
from jtask.errors import EnvelopeError
from jtask.ids import created_at
from jtask.outcomes import SettledRun
from jtask.states import State, StateName

if TYPE_CHECKING:
    from jtask.client import Client

MESSAGE = "cancelled on request"
HOLDERS = "cancel"
"""The topic under which the worker that holds a run is asked to end it."""
WORKERS = "cancelling"
"""The topic under which the workers are told of a wish."""

_BUCKET = "cancellations"
_PATIENCE = 2.0  # seconds for a run that is on its way between the broker and a worker
_ASK_SECONDS = 0.25  # a worker answers at once
_PAUSE_SECONDS = 0.05


class CancelResult(StrEnum):
    """What came of asking for a run's end."""

    NEVER_STARTS = "never starts"
    """It waited, and will not be executed."""
    INTERRUPTED = "interrupted"
    """It executes and is being ended."""
    ASKED = "asked"
    """It executes and was asked to end; it goes on until its code looks."""
    ALREADY_OVER = "already over"
    """It had ended before."""
    NOT_FOUND = "not found"
    """It waits on no queue, and no worker that answers holds it."""


@dataclass(frozen=True, slots=True)
class CancelAnswer:
    """What came of asking for a run's end.

    Attributes:
        run_id: The run.
        result: What came of it.
        state: The final state; None while it is not known.
    """

    run_id: str
    result: CancelResult
    state: State | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """The stored wish that a run end.

    Attributes:
        run_id: The run.
        message: Why, kept with its state.
        at: Since when, seconds since the epoch.
        head: The envelope without its payload, if the run was seen waiting.
    """

    run_id: str
    message: str
    at: float
    head: bytes = b""


async def cancel_run(client: "Client", run_id: str, message: str) -> CancelAnswer:
    """End a run; the answer says truly what came of it."""
    broker = client.broker
    if (over := await already_over(broker, run_id)) is not None:
        return over
    wish = await _store_wish(broker, run_id, message)
    deadline = time.monotonic() + _PATIENCE
    while (answer := await pursue(client, wish)) is None:
        if time.monotonic() > deadline:
            answer = CancelAnswer(run_id, CancelResult.NOT_FOUND)
            break
        await asyncio.sleep(_PAUSE_SECONDS)
    if answer.state is not None or answer.result is CancelResult.NOT_FOUND:
        await forget(broker, run_id)
    return answer


async def cancel_waiting(client: "Client", run_id: str, message: str) -> CancelAnswer | None:
    """End a run that waits; None, and nothing else happens, when it does not wait any more."""
    wish = await _store_wish(client.broker, run_id, message)
    answer = await _take_off(client, wish)
    await forget(client.broker, run_id)
    return answer


async def pursue(client: "Client", wish: Wish) -> CancelAnswer | None:
    """Try once to fulfil a wish; None when the run is nowhere to be found for now."""
    answer = await _take_off(client, wish)
    if answer is None:
        answer = await _ask_holder(client.broker, wish)
    return answer or await already_over(client.broker, wish.run_id)


async def give_up_lost(client: "Client", wish: Wish) -> CancelAnswer:
    """End a run that was taken off its queue by somebody who died before storing its outcome."""
    return await _end(client, wish, wish.head)


async def already_over(broker: FullBroker, run_id: str) -> CancelAnswer | None:
    """Return the answer for a run that has ended; None for one that has not."""
    record = await broker.get(run_id)
    if record is None:
        return None
    return CancelAnswer(run_id, CancelResult.ALREADY_OVER, decode_settled(record.body).state)


async def wishes(broker: FullBroker) -> list[Wish]:
    """Return the wishes that are not known to be fulfilled."""
    return [_read_wish(record.key, record.body) for record in await broker.records(_BUCKET)]


async def find_wish(broker: FullBroker, run_id: str) -> Wish | None:
    """Return the wish for a run's end; None when there is none or no more."""
    record = await broker.get_record(_BUCKET, run_id)
    return None if record is None else _read_wish(run_id, record.body)


async def forget(broker: FullBroker, run_id: str) -> None:
    """Forget a wish."""
    await broker.delete_record(_BUCKET, run_id)


def write_question(wish: Wish) -> bytes:
    """Return what workers are asked."""
    return json.dumps({"run_id": wish.run_id, "message": wish.message}).encode()


def read_question(question: bytes) -> tuple[str, str]:
    """Return the run id and the message in a question."""
    asked = json.loads(question)
    return str(asked["run_id"]), str(asked["message"])


async def _store_wish(broker: FullBroker, run_id: str, message: str) -> Wish:
    found = await broker.find_waiting(run_id)
    head = b"" if found is None else found.body.partition(b"\n")[0]
    wish = Wish(run_id, message, time.time(), head)
    facts = json.dumps({"message": message, "at": wish.at}).encode()
    await broker.put_record(_BUCKET, run_id, b"%b\n%b" % (facts, head))
    # One worker that knows is enough: it goes on should this process die.
    await broker.ask(WORKERS, write_question(wish), timeout=_ASK_SECONDS, answers=1)
    return wish


def _read_wish(run_id: str, body: bytes) -> Wish:
    facts, _, head = body.partition(b"\n")
    read = json.loads(facts)
    return Wish(run_id, str(read["message"]), float(read["at"]), head)


async def _take_off(client: "Client", wish: Wish) -> CancelAnswer | None:
    broker = client.broker
    found: WaitingRun | None = await broker.find_waiting(wish.run_id)
    if found is None or not await broker.cancel(wish.run_id):
        return None
    return await _end(client, wish, found.body)


async def _ask_holder(broker: FullBroker, wish: Wish) -> CancelAnswer | None:
    question = write_question(wish)
    answers = await broker.ask(HOLDERS, question, timeout=_ASK_SECONDS, answers=1)
    return CancelAnswer(wish.run_id, CancelResult(answers[0].decode())) if answers else None


async def _end(client: "Client", wish: Wish, body: bytes) -> CancelAnswer:
    """Store the outcome of a run that nobody will execute; the first outcome stands."""
    broker, run_id = client.broker, wish.run_id
    envelope = _readable(run_id, body)
    state = State(StateName.CANCELLED, time.time(), wish.message)
    record = OutcomeRecord(run_id, encode_settled(_settled(envelope, state)))
    if not await broker.put(record) and (over := await already_over(broker, run_id)):
        return over
    client.events.add(
        Event(run_id, state.name, state.at, envelope.task_key, envelope.attempt, "", wish.message)
    )
    if envelope.blob is not None:
        await broker.delete_blob(f"{run_id}.args")
    return CancelAnswer(run_id, CancelResult.NEVER_STARTS, state)


def _readable(run_id: str, body: bytes) -> Envelope:
    """Return the envelope of a run, or one that says as little as is known."""
    try:
        return decode_envelope(body)
    except EnvelopeError:
        return Envelope(run_id, "", "", "json", b"", created_at(run_id))


def _settled(envelope: Envelope, state: State) -> SettledRun:
    return SettledRun(
        run_id=envelope.run_id,
        task_key=envelope.task_key,
        task_name=envelope.task_name,
        state=state,
        attempt=envelope.attempt,
        created=envelope.created,
        started=envelope.started,
        ended=state.at,
        run_time=envelope.run_time,
        worker="",
        serializer=envelope.serializer,
        history=envelope.history,
    )
