"""How a run is put on its queue: which subject, which headers, when.

The server's scheduler fires up to 250 ms late, and never sooner than 250 ms from now. So a run is
scheduled that much early and carries its exact instant, which the worker that receives it waits
for; what is due sooner goes to the queue at once, with its instant.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from jtask.contract import EXPIRY_GRACE, HORIZON, Message, MessageGroup
from jtask_nats.client import headers
from jtask_nats.client.batches import BatchMessages
from jtask_nats.streams.server_clock import ServerClock
from jtask_nats.streams.subjects import Subjects

EARLY = 0.25  # seconds
_SCHEDULED_FROM = 2 * EARLY
_REPLACED = ":replaced"


class OutgoingMessage(NamedTuple):
    """A message ready to be published, in the order that `Publisher.publish_batch` takes.

    Attributes:
        subject: Of the queue, or of the schedule that brings it there.
        headers: Header lines, each with its line end.
        body: The envelope.
    """

    subject: str
    headers: bytes
    body: bytes


class InHand(NamedTuple):
    """A message of a run that a worker holds.

    Attributes:
        level: The priority of the runs among which it was delivered.
        sequence: In the stream.
        lost_workers: How many workers were lost with the run so far.
    """

    level: int
    sequence: int
    lost_workers: int = 0


def new_run_message(subjects: Subjects, message: Message, clock: ServerClock) -> OutgoingMessage:
    """Return what to publish for a new run.

    Args:
        subjects: Of the namespace.
        message: The run.
        clock: The server's.
    """
    if message.at is None and message.expires is None:
        return OutgoingMessage(
            subjects.queued(message.queue, message.priority, message.run_id),
            headers.message_id(message.run_id),
            message.body,
        )
    lines = headers.message_id(message.run_id) + _expiry(message, clock)
    return _timed(subjects, message, lines, clock, message.parked_under)


def new_run_messages(
    subjects: Subjects, messages: Sequence[Message], clock: ServerClock
) -> BatchMessages:
    """Return what `new_run_message` returns for many runs.

    Args:
        subjects: Of the namespace.
        messages: The runs.
        clock: The server's.
    """
    if isinstance(messages, MessageGroup) and messages.at is None and messages.expires is None:
        place = subjects.queued(messages.queue, messages.priority, "")
        return BatchMessages(
            [place + run_id for run_id in messages.run_ids],
            headers.message_ids(messages.run_ids),
            messages.bodies,
        )
    return BatchMessages.of(new_run_message(subjects, message, clock) for message in messages)


def replacing_message(
    subjects: Subjects, message: Message, sequence: int, clock: ServerClock
) -> OutgoingMessage:
    """Return what to publish in the place of a delayed run that no worker has had.

    It is stored only while the schedule that it replaces is there.

    Args:
        subjects: Of the namespace.
        message: The run as it is from now on.
        sequence: Of that schedule.
        clock: The server's.
    """
    # A schedule in any case: what is due sooner would go to another subject, beside this one.
    soonest = clock.time() + _SCHEDULED_FROM + EARLY / 5
    message = replace(message, at=max(message.at or 0.0, soonest))
    lines = headers.message_id(f"{message.run_id}:{sequence}{_REPLACED}")
    lines += headers.expected(sequence) + _expiry(message, clock)
    return _timed(subjects, message, lines, clock)


def is_new(run_id: str, block: bytes) -> bool:
    """Tell whether no worker has had the message of a run, by its headers."""
    known_as = headers.text(block, b"Nats-Msg-Id")
    # What a worker had is queued again under another id: see `rescheduled_message`.
    return known_as == run_id or known_as.endswith(_REPLACED)


def rescheduled_message(
    subjects: Subjects,
    message: Message,
    in_hand: InHand,
    clock: ServerClock,
    key: str | None = None,
) -> OutgoingMessage:
    """Return what to publish to queue a run again that is in hand.

    It is stored only while the message in hand is the run's latest.

    Args:
        subjects: Of the namespace.
        message: The run, with its new instant.
        in_hand: Its message that is in hand.
        clock: The server's.
        key: What it is parked under until its instant; None when nobody is to wake it.
    """
    # The sequence makes it unique: a second try of this is a duplicate, the next attempt is not,
    # even for the same instant.
    lines = headers.message_id(f"{message.run_id}:{in_hand.sequence}")
    subject = subjects.queued(message.queue, in_hand.level, message.run_id)
    lines += headers.expected(in_hand.sequence, subject)
    if in_hand.lost_workers:
        # The server counts the deliveries of the new message from 1 again.
        lines += headers.line(headers.LOST, in_hand.lost_workers)
    return _timed(subjects, message, lines, clock, key)


def _timed(
    subjects: Subjects,
    message: Message,
    lines: bytes,
    clock: ServerClock,
    key: str | None = None,
) -> OutgoingMessage:
    target = subjects.queued(message.queue, message.priority, message.run_id)
    # Beyond, the server's own count of nanoseconds wraps, and the run would start at once.
    at = min(clock.to_server(message.at or 0.0), HORIZON)
    now = clock.to_server(clock.time())
    if at > now:
        lines += headers.line(headers.AT, headers.millis(at))
    if at - now < _SCHEDULED_FROM:
        return OutgoingMessage(target, lines, message.body)
    # What the schedule produces keeps our headers, without Nats-Msg-Id, Nats-Expected-* and
    # Nats-TTL. Its target must be in the same stream (ADR-51).
    lines += b"Nats-Schedule: @at %b\r\n" % headers.instant(at - EARLY).encode()
    lines += b"Nats-Schedule-Target: %b\r\n" % target.encode()
    if key is None:
        subject = subjects.schedule(message.queue, message.priority, message.run_id)
    else:
        subject = subjects.parked(message.queue, key, message.run_id)
    return OutgoingMessage(subject, lines, message.body)


def _expiry(message: Message, clock: ServerClock) -> bytes:
    if message.expires is None:
        return b""
    expires, now = min(message.expires, HORIZON), clock.time()
    left = max(0.0, expires - now) + EXPIRY_GRACE
    lines = headers.line(headers.EXPIRES, headers.millis(clock.to_server(expires)))
    if message.at is None or message.at - now < _SCHEDULED_FROM:
        return lines + headers.ttl(left)
    # Nats-TTL would end the schedule itself; this one goes to what it produces.
    return lines + headers.line(b"Nats-Schedule-TTL", headers.duration(left))
