"""What a worker does with a run that is over, or comes again: as the broker wants it."""

import time
from dataclasses import dataclass, replace
from typing import NamedTuple

from jtask.contract import Delivery
from jtask.lifecycle import Park, Release, Reschedule
from jtask.outcomes import Outcome, SettledRun
from jtask.runtime import RunContext
from jtask.runtime.settled_runs import settled_run
from jtask.wire.envelope import VERSION, Envelope, encode_outcome
from jtask.wire.fields import json_line
from jtask.wire.history import bare, remember, shortened, summary
from jtask.wire.plain_outcomes import plain_outcome

_LONGEST_REASON = 300  # characters of why a run waits that travel with it


class DeadLetterBody(NamedTuple):
    """Why a run is dead-lettered, and what is kept of it."""

    reason: str
    body: bytes


@dataclass(slots=True, eq=False)
class StoreOutcome:
    """Store this outcome, then take the run off its queue.

    Attributes:
        body: The outcome's wire form.
        blob: A return value to store as a blob first.
        letter: Dead-letter the run instead of dropping it.
    """

    body: bytes
    blob: bytes | None = None
    letter: DeadLetterBody | None = None


@dataclass(frozen=True, slots=True)
class Requeue:
    """Queue the run once more.

    Attributes:
        at: When, seconds since the epoch.
        body: The envelope.
        blob: Arguments to store as a blob first.
        park: What it is parked under until then; None when nobody is to wake it.
    """

    at: float
    body: bytes
    blob: bytes | None = None
    park: Park | None = None


Disposition = StoreOutcome | Requeue | Release


def store_outcome(
    run: RunContext, envelope: Envelope, delivery: Delivery, outcome: Outcome, inline_limit: int
) -> StoreOutcome:
    """Return what to store of a run that is over.

    Args:
        run: The run.
        envelope: What came over the wire.
        delivery: The broker's side of it.
        outcome: How it ended.
        inline_limit: The largest outcome that needs no blob, in bytes.
    """
    payload = outcome.payload or b""
    if _says_nothing_more(run, envelope, outcome):  # nearly all
        body = plain_outcome(envelope, outcome.state, run, payload)
        if len(body) <= inline_limit:
            return StoreOutcome(body)
    settled = settled_run(run, outcome, envelope, payload=payload)
    body = encode_outcome(settled)
    # The value can go to a blob, what is said about the run cannot.
    if len(body) - len(settled.payload) > inline_limit:
        settled = replace(settled, failure=shortened(settled.failure), history=bare(run.history))
        body = encode_outcome(settled)
    letter = None
    if (reason := outcome.dead_letter) is not None:
        letter = DeadLetterBody(reason, _dead_letter_body(reason, settled, delivery, inline_limit))
    if len(body) <= inline_limit:
        return StoreOutcome(body, letter=letter)
    payload = settled.payload
    body = encode_outcome(replace(settled, payload=b"", blob=len(payload)))
    return StoreOutcome(body, payload, letter)


def _says_nothing_more(run: RunContext, envelope: Envelope, outcome: Outcome) -> bool:
    """Tell whether all that an outcome says is in the fields that each has."""
    state = outcome.state
    if outcome.error is not None or outcome.dead_letter is not None:
        return False
    if state.message or state.details or run.headers or run.history or envelope.needs:
        return False
    if run.lines_attempt:
        return False
    return not (run.tags or run.parent_id or run.root_id or run.version)


def requeue(
    run: RunContext, envelope: Envelope, reschedule: Reschedule, inline_limit: int
) -> Requeue:
    """Return how a run is queued once more.

    Args:
        run: The run.
        envelope: What came over the wire.
        reschedule: When, and why.
        inline_limit: The largest message that needs no blob, in bytes.
    """
    following = _next_envelope(run, envelope, reschedule)
    # Arguments of a run that must start by an instant do not outlive it; from now on they must.
    restore = envelope.expires is not None and following.expires is None
    again = _requeue(reschedule.at, following, inline_limit, restore=restore)
    return replace(again, park=reschedule.park)


def encode_dead_letter(reason: str, outcome: SettledRun, message: bytes, priority: int) -> bytes:
    """Return the body of a dead letter: why, the outcome, the message itself.

    Args:
        reason: Why, one sentence.
        outcome: How the run ended; its return value is left out.
        message: The message as it was delivered.
        priority: The message's priority, 0 to 9.
    """
    head: dict[str, object] = {"v": VERSION, "reason": reason, "at": time.time()}
    # Without its payload: the message has the arguments, and a run that failed has no value.
    head["outcome"] = encode_outcome(outcome).partition(b"\n")[0].decode()
    if priority:
        head["priority"] = priority
    return b"%b\n%b" % (json_line(head), message)


def _dead_letter_body(
    reason: str, settled: SettledRun, delivery: Delivery, inline_limit: int
) -> bytes:
    message, priority = delivery.body, delivery.priority
    body = encode_dead_letter(reason, settled, message, priority)
    if len(body) <= inline_limit:
        return body
    # The message counts more than what is said about it: it is what can be replayed.
    settled = replace(settled, failure=summary(settled.failure), history=bare(settled.history))
    return encode_dead_letter(reason, settled, message, priority)


def _next_envelope(run: RunContext, envelope: Envelope, reschedule: Reschedule) -> Envelope:
    if not reschedule.new_attempt:
        # It only waits for admission.
        waits_for = reschedule.message[:_LONGEST_REASON]
        return replace(envelope, headers=dict(run.headers), waits_for=waits_for)
    return replace(
        envelope,
        headers=dict(run.headers),
        attempt=run.attempt + 1,
        started=run.started_at,
        run_time=run.run_time,
        expires=None,  # concerns the first start only
        history=remember(run.history, run.end_attempt(reschedule.message)),
        waits_for="",
    )


def _requeue(at: float, envelope: Envelope, inline_limit: int, *, restore: bool) -> Requeue:
    payload = envelope.payload
    # Arguments that came from a blob are there still.
    blob = payload if restore and envelope.blob is not None else None
    if envelope.blob is not None:
        envelope = replace(envelope, payload=b"")
    body = envelope.encode()
    if len(body) <= inline_limit:
        return Requeue(at, body, blob)
    # The history has grown.
    if envelope.blob is None:
        blob, envelope = payload, envelope.with_blob(payload)
    body = envelope.encode()
    if len(body) > inline_limit:
        body = replace(envelope, history=bare(envelope.history)).encode()
    return Requeue(at, body, blob)
