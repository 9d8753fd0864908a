"""All of jtask's decoders, each as a check of what it does with any bytes."""

import contextlib
from collections.abc import Callable
from typing import Any

from jtask.client import cancel_requests, cancellation
from jtask.contract import DeadLetter, Record
from jtask.errors import EnvelopeError, SerializationError, TransactionError
from jtask.outcomes import SettledRun
from jtask.serialization.results import read_untyped
from jtask.wire.envelope import Envelope, decode_envelope, decode_outcome, encode_outcome
from jtask.wire.failures import rebuild
from jtask.wire.fields import known_fields
from jtask.wire.progress import Progress, decode_progress
from jtask_cancellation import bulk
from jtask_dead_letters import replaying
from jtask_dead_letters.letters import read_letter
from jtask_dead_letters.reporting import letter_text
from jtask_logs.command import text_of
from jtask_nats.client import headers, pending
from jtask_nats.client.answer_reader import AnswerReader
from jtask_nats.client.direct_reads import StoredMessage
from jtask_nats.client.protocol import Parser, ProtocolError
from jtask_nats.stores.blobs import assemble
from jtask_nats.stores.event_log import bodies, events_of
from jtask_nats.stores.logs import lines_of
from jtask_nats.streams import pausing
from jtask_once.keys import read_header
from jtask_once.reservations import Reservation
from jtask_schedules.schedule import decode_schedule
from jtask_transactions.records import Entry

_RUN_ID = "01a1fff5-44eb-7316-bfb5-63cd9960aef8"
_LONGEST_REASON = 1500  # characters


def _envelope(body: bytes) -> None:
    found = _or_a_short_reason(decode_envelope, body)
    if isinstance(found, Envelope):
        # What was taken in can be passed on.
        assert decode_envelope(found.encode()) == found


def _outcome(body: bytes) -> None:
    found = _or_a_short_reason(decode_outcome, body)
    if isinstance(found, SettledRun):
        encode_outcome(found)
        if found.failure is not None:
            rebuild(found.failure)


def _events(body: bytes) -> None:
    events = events_of(body)
    for written in bodies(events, 1 << 20):
        assert len(events_of(written)) <= len(events)


def _log_lines(body: bytes) -> None:
    for line in lines_of(_RUN_ID, body):
        text_of(line)


def _letter(body: bytes) -> None:
    letter_text(read_letter(DeadLetter(_RUN_ID, "add", "reason", 1.0, body)))


def _records(body: bytes) -> None:
    record = Record(_RUN_ID, body, 1)
    request = cancel_requests._read(record)
    assert len(request.message) < 20_000
    assert request.envelope.run_id is not None
    replaying._read(record).encode()
    progress = _or_a_short_reason(decode_progress, body)
    if isinstance(progress, Progress):
        assert decode_progress(progress.encode()) == progress
        assert progress.fraction is None or 0 <= progress.fraction <= 1
        str(progress)
    pausing._read_record(body)
    reservation = Reservation.decode(body)
    if reservation is not None:
        assert Reservation.decode(reservation.encode()) == reservation
    with contextlib.suppress(TransactionError):
        Entry.decode(body, 1, "transaction 'k'").encode()
    with contextlib.suppress(ValueError):
        schedule = decode_schedule("add", body)
        schedule.message(schedule.trigger.next_after(1.7e9))


def _questions(body: bytes) -> None:
    cancellation.read_question(body)
    known_fields(body)
    bulk._held(body)
    read_header(body.decode("utf-8", "replace"))


def _header_lines(body: bytes) -> None:
    block = b"NATS/1.0\r\n" + body
    for name in (headers.AT, headers.EXPIRES, headers.LOST):
        headers.number(block, name)
    headers.key_of(block)
    headers.reason_of(block)
    assemble([StoredMessage("b.x.0", 1, "", block, body)])


def _frames(body: bytes) -> None:
    taken: list[str] = []

    def take(subject: str, reply: str, data: bytes, block: bytes | None) -> None:
        taken.append(subject)

    reader = AnswerReader("a.", b"1", lambda group, places: None)
    # Alone, and as the arguments of a message.
    for frames in (body, b"MSG a 1 " + body, b"HMSG a 1 " + body, b"MSG %b 1 0\r\n\r\n" % body):
        with contextlib.suppress(ProtocolError, ValueError, IndexError):
            Parser({b"1": take}, lambda line: None, {b"1": reader.read}).feed(frames)


def _values(body: bytes) -> None:
    for payload in (body, body.partition(b"\n")[2], b'{"=":%b}' % body):
        with contextlib.suppress(SerializationError):
            read_untyped(payload, "the result")


def _answers(body: bytes) -> None:
    pending.refusal_in(body, "subject")


def _or_a_short_reason(decode: Callable[[bytes], Any], body: bytes) -> Any:
    try:
        return decode(body)
    except EnvelopeError as error:
        reason = str(error)
    assert len(reason) < _LONGEST_REASON
    assert reason.isprintable()
    return None


DECODERS: tuple[Callable[[bytes], None], ...] = (
    _envelope,
    _outcome,
    _events,
    _log_lines,
    _letter,
    _records,
    _questions,
    _header_lines,
    _frames,
    _values,
    _answers,
)
