"""A connection of a thread's own: it publishes, and reads the answer itself."""

import itertools
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable

from jtask_nats.client.link import Link, LinkLost
from jtask_nats.client.pending import is_stored
from jtask_nats.client.protocol import publish_command, status_of

# Seconds. The kernel ends a read that takes longer: Python's own timeouts would ask it twice each
# time, and to tell the kernel anew for each read would be one more call.
_STEP = 0.025


class BlockingLink(Link):
    """Publish one message after the other, each answered before the next, from any one thread."""

    def __init__(self, plain: socket.socket, replies: str) -> None:
        super().__init__(plain, replies)
        self._prefix = replies.removesuffix("*")
        self._acks = f"{self._prefix}ack"
        self._numbers = itertools.count(2)  # 1 is the subscription of the answers
        self._patience = 0.0
        self._is_tls = False
        self._descriptor = -1
        # What the stream has said to what was published.
        self._answer: bytes | None = None
        self._is_followed = False  # what is published is waited for here
        self._sid = b""
        self._asked = ""  # where a question is answered
        self._message: bytes | None = None
        self.listens_to = ""
        """Where a message may come that is waited for, or may be soon; empty for nowhere."""
        self.used = time.monotonic()
        """When it was lent last, on the monotonic clock."""

    def publish(
        self, subject: str, headers: bytes, body: bytes, followed_at: str = ""
    ) -> bytes | None:
        """Publish a message and wait for the stream's answer.

        Args:
            subject: One that a stream captures.
            headers: Header lines, each with its line end.
            body: The message.
            followed_at: Where a message may come in consequence, which the thread may wait for.
                Listened to beforehand where the one before was waited for here.

        Returns:
            bytes | None: See `read_ack`; None when it is a refusal, or nobody has listened.

        Raises:
            OSError: No answer; the message may be stored. The link is of no use any more.
            ProtocolError: Likewise.
        """
        command = publish_command(subject, self._acks, headers, body)
        if self.listens_to:
            # Nobody has waited for what followed the one before.
            self._is_followed = False
            command = self._end_listening() + command
        elif self._is_followed and followed_at:
            command = self._listen(followed_at) + command
        self._answer = None
        self._write(command)
        self._read_for_a_moment()
        answer = self._answer or self._await_answer()
        return answer if is_stored(answer) else None

    def await_message(
        self, subject: str, question: Callable[[], tuple[str, bytes]], seconds: float
    ) -> bytes | None:
        """Wait for the first message on a subject, or for a good answer to a question.

        Listens, then asks: what is published in between is not missed. There is nothing to ask
        where it has listened since before that could be published.

        Args:
            subject: Where the message will come.
            question: Returns subject and body of a request that is answered with the message if it
                came before, else with a status.
            seconds: How long; more than 0.

        Returns:
            bytes | None: The message; None when there was none in time.

        Raises:
            OSError: The link is of no use any more.
            ProtocolError: Likewise.
        """
        if self.listens_to != subject:
            command = self._end_listening() + self._listen(subject)
            self._asked = self._prefix + self._sid.decode()
            ask, body = question()
            self._write(command + publish_command(ask, self._asked, b"", body))
        deadline = time.monotonic() + seconds
        while self._message is None and time.monotonic() < deadline:
            self._read_for_a_moment()
        message = self._message
        self._is_followed = message is not None
        if end := self._end_listening():
            self._write(end)
        return message

    def _await_answer(self) -> bytes:
        deadline = time.monotonic() + self._patience
        while self._answer is None:
            if time.monotonic() >= deadline:
                raise LinkLost("the server does not answer")
            self._read_for_a_moment()
        return self._answer

    def _listen(self, subject: str) -> bytes:
        self._sid = sid = b"%d" % next(self._numbers)
        self._handlers[sid] = self._on_pushed
        self._message = None
        self.listens_to = subject
        return b"SUB %b %b\r\nUNSUB %b 1\r\n" % (subject.encode(), sid, sid)

    def _end_listening(self) -> bytes:
        """Take nothing more for a message that is waited for; return what to tell the server."""
        self.listens_to = self._asked = ""
        # Else it was pushed, which has ended the subscription.
        is_open = self._handlers.pop(self._sid, None) is not None
        return b"UNSUB %b\r\n" % self._sid if is_open else b""

    def _read_for_a_moment(self) -> None:
        try:
            self._read()
        except BlockingIOError:
            return  # the kernel has waited
        except ssl.SSLWantReadError:
            self._await_socket(select.POLLIN, _STEP)

    def _on_message(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        del reply
        if subject == self._acks:
            self._answer = data
        elif subject == self._asked and status_of(headers)[0] is None:
            self._message = data

    def _on_pushed(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        del subject, reply, headers
        self._handlers.pop(self._sid, None)
        self._message = data

    def _write(self, data: bytes) -> None:
        if not self._is_tls:
            self._socket.sendall(data)
            return
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except ssl.SSLWantWriteError:
                if not self._await_socket(select.POLLOUT, self._patience):
                    raise LinkLost("the server takes nothing") from None

    def _await_socket(self, event: int, seconds: float) -> bool:
        # Not select.select: it knows no descriptor above 1,023, and none that is closed meanwhile.
        waiting = select.poll()
        waiting.register(self._descriptor, event)
        return bool(waiting.poll(seconds * 1000))

    def _begin(self, timeout: float) -> None:
        self._patience = timeout
        self._descriptor = self._socket.fileno()
        self._is_tls = isinstance(self._socket, ssl.SSLSocket)
        if self._is_tls:
            # It goes on by itself where the kernel has ended a call.
            self._socket.settimeout(0)
            return
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _time_limit(_STEP))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _time_limit(timeout))


def _time_limit(seconds: float) -> bytes:
    """Return what the kernel takes as a time; none at all would be no limit."""
    whole, part = divmod(max(seconds, 1e-3), 1)
    return struct.pack("@ll", int(whole), int(part * 1e6))
