"""A connection of a thread's own: it publishes, and reads the answer itself."""

import itertools
import socket
import ssl
import struct
import time

from jtask_nats.client.link import Link
from jtask_nats.client.pending import refusal_in
from jtask_nats.client.protocol import publish_command, status_of


class BlockingLink(Link):
    """Publish one message after the other, each answered before the next, from any one thread."""

    def __init__(self, plain: socket.socket, replies: str) -> None:
        super().__init__(plain, replies)
        self._prefix = replies.removesuffix("*")
        self._acks = f"{self._prefix}ack"
        self._numbers = itertools.count(2)  # 1 is the subscription of the answers
        # Where what is waited for comes. An answer to an earlier question may come much later.
        self._expected = ""
        self._answer: bytes | None = None
        self._usual_limit = b""
        self.used = time.monotonic()
        """When it was lent last, on the monotonic clock."""

    def publish(self, subject: str, headers: bytes, body: bytes) -> bytes | None:
        """Publish a message and wait for the stream's answer.

        Args:
            subject: One that a stream captures.
            headers: Header lines, each with its line end.
            body: The message.

        Returns:
            bytes | None: See `read_ack`; None when it is a refusal, or nobody has listened.

        Raises:
            OSError: No answer; the message may be stored. The link is of no use any more.
            ProtocolError: Likewise.
        """
        self._answer, self._expected = None, self._acks
        self._socket.sendall(publish_command(subject, self._acks, headers, body))
        while self._answer is None:
            self._read()
        return self._answer if refusal_in(self._answer, subject) is None else None

    def await_message(
        self, subject: str, question: tuple[str, bytes], seconds: float
    ) -> bytes | None:
        """Wait for the first message on a subject, or for a good answer to a question.

        Listens, then asks: what is published in between is not missed.

        Args:
            subject: Where the message will come.
            question: Subject and body of a request that is answered with the message if it came
                before, else with a status.
            seconds: How long; more than 0.

        Returns:
            bytes | None: The message; None when there was none in time.

        Raises:
            OSError: The link is of no use any more.
            ProtocolError: Likewise.
        """
        sid = b"%d" % next(self._numbers)
        reply = self._prefix + sid.decode()
        self._answer, self._expected = None, reply
        self._handlers[sid] = self._on_pushed
        listen = b"SUB %b %b\r\nUNSUB %b 1\r\n" % (subject.encode(), sid, sid)
        self._set_limit(_time_limit(seconds))
        self._socket.sendall(listen + publish_command(question[0], reply, b"", question[1]))
        try:
            self._read_until(time.monotonic() + seconds)
        finally:
            del self._handlers[sid]
        self._set_limit(self._usual_limit)
        if self._expected:
            # Nothing was pushed, which would have ended the subscription.
            self._socket.sendall(b"UNSUB %b\r\n" % sid)
        return self._answer

    def _read_until(self, deadline: float) -> None:
        try:
            while self._answer is None and time.monotonic() < deadline:
                self._read()
        except (BlockingIOError, ssl.SSLWantReadError):
            return  # it is the kernel that watches the clock

    def _on_message(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        del reply
        if subject == self._expected and (subject == self._acks or status_of(headers)[0] is None):
            self._answer = data

    def _on_pushed(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        del subject, reply, headers
        self._answer, self._expected = data, ""

    def _begin(self, timeout: float) -> None:
        # The kernel ends what takes too long: Python's own timeouts would ask it twice each time.
        self._socket.settimeout(None)
        self._usual_limit = _time_limit(timeout)
        self._set_limit(self._usual_limit)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, self._usual_limit)

    def _set_limit(self, limit: bytes) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)


def _time_limit(seconds: float) -> bytes:
    """Return what the kernel takes as a time; none at all would be no limit."""
    whole, part = divmod(max(seconds, 1e-3), 1)
    return struct.pack("@ll", int(whole), int(part * 1e6))
