"""The header lines that jtask sends and reads, built by hand because it is the hot path.

OutgoingMessage blocks are lines only; what comes in is raw, version line in front.
"""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from jtask.foreign_text import sendable
from jtask_nats.client.protocol import header_value

AT = b"Jtask-At"
"""Do not start before: milliseconds since the epoch; the receiving worker holds the run so long."""
EXPIRES = b"Jtask-Expires"
"""Do not start after: milliseconds since the epoch; a worker settles it as Expired."""
KEY = b"Jtask-Key"
"""The key of a record that is too long for a subject."""
REASON = b"Jtask-Reason"
"""Why a run was dead-lettered."""
LOST = b"Jtask-Lost"
"""How many workers were lost with the run before this message of it was stored."""
PRIORITY = b"Jtask-Priority"
"""The priority of a run that was woken and is delivered before others."""
TOKEN = b"Jtask-Token"
"""What a run was given when it was woken."""
OWN = b"\r\nJtask-"
"""In each raw block that has any of the above: one search instead of five on the hot path."""
_LONGEST_NUMBER = 20  # digits; of 64 bits
FIRST_ONLY = b"Nats-Expected-Last-Subject-Sequence: 0\r\n"
"""Lets a message in only as the first of its subject."""


def line(name: bytes, value: str | int) -> bytes:
    """Return one header line."""
    return b"%b: %b\r\n" % (name, str(value).encode())


def message_id(text: str) -> bytes:
    """Return the line by which the server recognises a message that was sent twice."""
    return b"Nats-Msg-Id: %b\r\n" % text.encode()


def message_ids(texts: Iterable[str]) -> list[bytes]:
    """Do `message_id` for many."""
    return [b"Nats-Msg-Id: %b\r\n" % text for text in map(str.encode, texts)]


def expected(sequence: int, subject: str = "") -> bytes:
    """Return the lines that let a message in only as the successor of a known one.

    Args:
        sequence: Of that one.
        subject: Where that one is, if not on the message's own subject.
    """
    lines = line(b"Nats-Expected-Last-Subject-Sequence", sequence)
    elsewhere = b"Nats-Expected-Last-Subject-Sequence-Subject"
    return lines + line(elsewhere, subject) if subject else lines


def ttl(seconds: float) -> bytes:
    """Return the line that lets a message live so long; the server takes no less than 1 s."""
    # Less than 1 s is refused with 10165 (ADR-43).
    return line(b"Nats-TTL", duration(seconds))


def lifetime(block: bytes) -> float:
    """Return how long a message with the line of `ttl` lives, seconds; 0 where it has none."""
    digits = text(block, b"Nats-TTL").removesuffix("s")
    return float(digits) if digits.isdecimal() and len(digits) <= _LONGEST_NUMBER else 0.0


def duration(seconds: float) -> str:
    """Return a time as the server reads it: whole seconds, at least one.

    It takes fractions, and drops them: a lease of 1.9 s would be one of 1 s (nats-server 2.15.1).
    """
    return f"{max(1, math.ceil(seconds))}s"


def instant(at: float) -> str:
    """Return an instant as the server reads it: RFC 3339, in microseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def millis(at: float) -> int:
    """Return an instant in whole milliseconds since the epoch, never an earlier one."""
    return math.ceil(at * 1000)


def number(headers: bytes | None, name: bytes) -> int | None:
    """Return a header's value as a number, or None when it is missing or none."""
    found = header_value(headers, name)
    # Python refuses to read thousands of digits; no number of ours has more than these.
    is_number = found is not None and found.isdigit() and len(found) <= _LONGEST_NUMBER
    return int(found) if found is not None and is_number else None


def text(headers: bytes | None, name: bytes) -> str:
    """Return a header's value, empty when it is missing."""
    return (header_value(headers, name) or b"").decode("utf-8", "replace")


def key(text: str) -> bytes:
    """Return the line that holds a record's key; `key_of` reads it."""
    # A header ends with its line, and a key may hold anything.
    return line(KEY, quote(text))


def key_of(block: bytes) -> str | None:
    """Return the key of a record, or None when its subject has it."""
    found = header_value(block, KEY)
    return None if found is None else unquote(found.decode("utf-8", "replace"))


def token(text: str) -> bytes:
    """Return the line with what a run is given; `token_of` reads it."""
    return line(TOKEN, quote(text))


def token_of(block: bytes | None) -> str | None:
    """Return what a run was given, or None."""
    found = header_value(block, TOKEN)
    return None if found is None else unquote(found.decode("utf-8", "replace"))


def reason(sentence: str) -> bytes:
    """Return the line that says why a run was dead-lettered; `reason_of` reads it."""
    return line(REASON, quote(sendable(sentence), safe=" ,.:;()[]'/=<>-_"))


def reason_of(block: bytes) -> str:
    """Return why a run was dead-lettered."""
    return unquote(text(block, REASON))
