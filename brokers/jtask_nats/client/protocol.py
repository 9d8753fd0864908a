r"""The bytes of the NATS client protocol: commands out, messages in, header blocks.

A header block on its way out is only its lines (`b"Nats-Msg-Id: x\\r\\n"`); one that came in is
raw, with the version line in front, and is taken apart only by who needs it.
"""

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from jtask.foreign_text import cut, shown
from jtask.rate_limited_log import RateLimitedLog

_log = logging.getLogger("jtask")

Handler = Callable[[str, str, bytes, bytes | None], None]
"""Takes subject, reply, data and the raw header block (None when there is none)."""

Reader = Callable[[bytes, int], int]
"""Takes what messages it can of those that begin at a place, and returns where they end."""

CRLF = b"\r\n"
_LONGEST_SUBJECT = 1024  # the whole command line may have 4096 bytes
_LONGEST_LINE = 1 << 20  # bytes; INFO names the servers of a cluster
_LOG_PAUSE = 60.0  # seconds between two lines about messages that fail in the same way
NO_RESPONDERS = 503
"""The status of what nobody listens for."""

HEADER_OVERHEAD = len(b"NATS/1.0\r\n") + len(CRLF)


class ProtocolError(ValueError):
    """What arrived is not what a NATS server sends."""


class Reply(NamedTuple):
    """An answer to a request.

    Attributes:
        data: The message.
        headers: The raw block; None when there is none.
        status: From the block's first line, 503 for no responders; None when there is none.
        description: The words behind the status.
    """

    data: bytes
    headers: bytes | None
    status: int | None
    description: str


def publish_command(subject: str, reply: str, headers: bytes, body: bytes) -> bytes:
    """Return the command that publishes a message.

    Args:
        subject: Where to.
        reply: Where an answer is expected; empty for none.
        headers: Header lines, each with its line end; empty for none.
        body: The message.
    """
    if not headers:
        return b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(body), body)
    block = len(headers) + HEADER_OVERHEAD
    return b"HPUB %b %b %d %d\r\nNATS/1.0\r\n%b\r\n%b\r\n" % (
        subject.encode(),
        reply.encode(),
        block,
        block + len(body),
        headers,
        body,
    )


def message_size(headers: bytes, body: bytes) -> int:
    """Return what a message counts against the server's max_payload."""
    return len(body) + len(headers) + (HEADER_OVERHEAD if headers else 0)


def is_subject(text: str) -> bool:
    """Tell whether a string can stand in a command without breaking out of it."""
    return 0 < len(text) <= _LONGEST_SUBJECT and " " not in text and text.isprintable()


def status_of(headers: bytes | None) -> tuple[int | None, str]:
    """Return the status and description in a header block's first line; None when it has none."""
    # A status stands behind "NATS/1.0" and a blank (ADR-4).
    if headers is None or headers[8:9] != b" ":
        return None, ""
    line = headers[9 : headers.find(CRLF)]
    code, _, description = line.partition(b" ")
    return (int(code) if code.isdigit() else None), description.decode("utf-8", "replace")


def header_value(headers: bytes | None, name: bytes) -> bytes | None:
    """Return the value of a header in a raw block, or None; the name's case counts."""
    if headers is None:
        return None
    start = headers.find(CRLF + name + b":")
    if start < 0:
        return None
    start += len(CRLF) + len(name) + 1
    return headers[start : headers.find(CRLF, start)].strip()


class Parser:
    """Split what the server sends into messages and call their handlers, without any task.

    Args:
        handlers: By subscription id as it stands on the wire; what has none is dropped.
        control: Takes each line that is not a message.
        readers: By subscription id too, where many messages follow one another; called behind a
            message of the subscription that has no headers.
    """

    def __init__(
        self,
        handlers: dict[bytes, Handler],
        control: Callable[[bytes], None],
        readers: Mapping[bytes, Reader] = MappingProxyType({}),
    ) -> None:
        self._handlers = handlers
        self._readers = readers
        self._control = control
        self._failures = RateLimitedLog(_LOG_PAUSE)
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 1

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes and deliver every message that they complete."""
        self._parts.append(chunk)
        self._have += len(chunk)
        # Joined once it is complete: joining each time would copy a large message again and again.
        if self._have < self._need:
            return
        data = chunk if len(self._parts) == 1 else b"".join(self._parts)
        used, missing = self._deliver(data)
        self._parts = [data[used:]] if used < len(data) else []
        self._have = len(data) - used
        self._need = self._have + missing

    def _deliver(self, data: bytes) -> tuple[int, int]:
        """Return how many bytes were consumed and how many more are needed at least."""
        at, end = 0, len(data)
        find, handlers, readers = data.find, self._handlers, self._readers
        while at < end:
            eol = find(CRLF, at)
            if eol < 0:
                if end - at > _LONGEST_LINE:
                    raise ProtocolError("the server sent a line without an end")
                break
            line = data[at:eol]
            start = eol + 2
            if line.startswith((b"MSG ", b"HMSG ")):
                # MSG subject sid [reply] size, and HMSG subject sid [reply] header-size size
                # (ADR-4).
                # At blanks only: whoever may publish can put any other byte into a subject.
                fields = line.split(b" ")
                stop = start + int(fields[-1])
                has_headers = line[0] == 72  # H
                block = start + int(fields[-2]) if has_headers else start
                if not start <= block <= stop:
                    raise ProtocolError("the server sent a message of a negative size")
                if stop + 2 > end:
                    return at, stop + 2 - end
                handler = handlers.get(fields[2])
                if handler is not None:
                    # A subject of any bytes must not end the connection of all others.
                    subject = fields[1].decode("utf-8", "surrogateescape")
                    reply = ""
                    if len(fields) == 5 + has_headers:
                        reply = fields[3].decode("utf-8", "surrogateescape")
                    headers = data[start:block] if has_headers else None
                    try:
                        handler(subject, reply, data[block:stop], headers)
                    except Exception as error:
                        # Nor must a message that fails.
                        self._log_failure(subject, error)
                at = stop + 2
                if not has_headers and (read := readers.get(fields[2])) is not None:
                    at = self._read_on(read, data, at)
            else:
                self._control(line)
                at = start
        return at, 1

    def _read_on(self, read: Reader, data: bytes, at: int) -> int:
        try:
            return read(data, at)
        except Exception as error:
            # What it had not taken then goes to the handler.
            self._log_failure("what follows a message", error)
            return at

    def _log_failure(self, subject: str, error: Exception) -> None:
        # By its kind: who sends one such message may send a million, each on its own subject.
        if count := self._failures.count(type(error).__qualname__):
            _log.warning(
                "a message on %s could not be handled, of %d like it: %s: %s",
                shown(cut(subject, 200)),
                count,
                type(error).__name__,
                shown(cut(str(error), 500)),
                exc_info=_log.isEnabledFor(logging.DEBUG),
            )
