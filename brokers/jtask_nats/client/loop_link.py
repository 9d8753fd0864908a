"""A connection of an event loop's own: what comes on it is read on that loop."""

import asyncio
import itertools
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from jtask_nats.client.link import Link, LinkLost
from jtask_nats.client.pending import is_stored
from jtask_nats.client.protocol import ProtocolError, publish_command, status_of

_CHECK_EVERY = 1.0  # seconds
_EARLY_AT_ONCE = 4  # messages that are listened to before anybody waits for them


class _Waiting(NamedTuple):
    answer: "asyncio.Future[bytes | None]"
    deadline: float


class _Listening(NamedTuple):
    token: str
    """Its number: of the subscription, and the end of the subject where a question is answered."""
    message: "asyncio.Future[bytes | None]"


class LoopLink(Link):
    """Publish any number of messages at once, on one event loop; no task is left on it.

    Opened on any thread; then it belongs to its loop, where everything else is called.
    """

    def __init__(self, plain: socket.socket, replies: str) -> None:
        super().__init__(plain, replies)
        self._prefix = replies.removesuffix("*")
        self._numbers = itertools.count(2)  # 1 is the subscription of the answers
        self._waiting: dict[str, _Waiting] = {}
        self._awaited: dict[str, asyncio.Future[bytes | None]] = {}
        # By subject: of these, nobody has asked for any yet.
        self._early: dict[str, _Listening] = {}
        self._is_followed = False  # what is published is waited for here
        self._out: list[bytes] = []
        self._carry = b""
        self._timeout = 0.0
        self._used = time.monotonic()
        self._idle = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._on_close: Callable[[LoopLink], None] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        """Its loop."""
        self.is_open = True
        """Whether it can be used."""

    def __del__(self) -> None:
        # Its loop has ended before it could close it.
        self._socket.close()

    def belong_to(
        self,
        loop: asyncio.AbstractEventLoop,
        on_close: "Callable[[LoopLink], None]",
        idle: float,
    ) -> None:
        """Belong to a loop from now on; from any thread.

        Args:
            loop: Which.
            on_close: Called with the link once it is closed.
            idle: After how many seconds without use it is.
        """
        self.loop, self._on_close, self._idle = loop, on_close, idle

    def attach(self) -> None:
        """Begin to listen; on its loop, as everything from now on."""
        assert self.loop is not None
        self.loop.add_reader(self._socket, self._on_readable)
        self._timer = self.loop.call_later(_CHECK_EVERY, self._check)

    def publish(
        self, subject: str, headers: bytes, body: bytes, followed_at: str = ""
    ) -> "asyncio.Future[bytes | None]":
        """Publish a message.

        Args:
            subject: One that a stream captures.
            headers: Header lines, each with its line end.
            body: The message.
            followed_at: See `BlockingLink.publish`.

        Returns:
            asyncio.Future[bytes | None]: See `read_ack`; None when there is no clean answer: the
            message may be stored, and is to be published otherwise.
        """
        assert self.loop is not None
        answer: asyncio.Future[bytes | None] = self.loop.create_future()
        token = str(next(self._numbers))
        self._used = now = time.monotonic()
        command = publish_command(subject, self._prefix + token, headers, body)
        if self._is_followed and followed_at:
            command = self._listen_early(followed_at) + command
        is_alone = not self._waiting
        self._waiting[token] = _Waiting(answer, now + self._timeout)
        if is_alone:
            self._write(command)
        else:
            # Several: one system call for all of this pass beats one for each.
            if not self._out:
                self.loop.call_soon(self._flush)
            self._out.append(command)
        return answer

    @property
    def awaited(self) -> int:
        """How many messages are waited for."""
        return len(self._awaited)

    def await_message(
        self, subject: str, question: Callable[[], tuple[str, bytes]], seconds: float
    ) -> "asyncio.Future[bytes | None]":
        """Wait for the first message on a subject, or for a good answer to a question.

        Listens, then asks: what is published in between is not missed.

        Args:
            subject: Where the message will come.
            question: Returns subject and body of a request that is answered with the message if it
                came before, else with a status.
            seconds: How long.

        Returns:
            asyncio.Future[bytes | None]: The message; None when there was none in time.
        """
        assert self.loop is not None
        self._used = time.monotonic()
        listening = self._early.pop(subject, None)
        if listening is None:
            command, listening = self._listen(subject)
            ask, body = question()
            self._write(command + publish_command(ask, self._prefix + listening.token, b"", body))
        token, message = listening
        self._awaited[token] = message
        timer = self.loop.call_later(seconds, _answer, message, None)
        message.add_done_callback(partial(self._await_no_more, token, timer))
        return message

    def _listen(self, subject: str) -> tuple[bytes, _Listening]:
        assert self.loop is not None
        token = str(next(self._numbers))
        message: asyncio.Future[bytes | None] = self.loop.create_future()
        self._handlers[token.encode()] = partial(self._on_pushed, token, message)
        sid = token.encode()
        command = b"SUB %b %b\r\nUNSUB %b 1\r\n" % (subject.encode(), sid, sid)
        return command, _Listening(token, message)

    def _listen_early(self, subject: str) -> bytes:
        if len(self._early) < _EARLY_AT_ONCE:
            command, self._early[subject] = self._listen(subject)
            return command
        # Nobody waits for what follows.
        self._is_followed = False
        early, self._early = self._early, {}
        return b"".join(self._end_listening(one.token) for one in early.values())

    def _end_listening(self, token: str) -> bytes:
        """Take nothing more for a message; return what to tell the server."""
        # Else it was pushed, which has ended the subscription.
        is_open = self._handlers.pop(token.encode(), None) is not None
        return b"UNSUB %b\r\n" % token.encode() if is_open else b""

    def _await_no_more(
        self, token: str, timer: asyncio.TimerHandle, message: "asyncio.Future[bytes | None]"
    ) -> None:
        timer.cancel()
        self._awaited.pop(token, None)
        self._is_followed = not message.cancelled() and message.result() is not None
        if (end := self._end_listening(token)) and self.is_open:
            self._write(end)

    def _on_pushed(
        self,
        token: str,
        message: "asyncio.Future[bytes | None]",
        subject: str,
        reply: str,
        data: bytes,
        headers: bytes | None,
    ) -> None:
        del subject, reply, headers
        self._handlers.pop(token.encode(), None)
        _answer(message, data)

    def close(self) -> None:
        """End the connection; what has no answer yet is for others. On its loop."""
        if not self.is_open:
            return
        self.is_open = False
        if self.loop is not None and not self.loop.is_closed():
            self._leave(self.loop)
        super().close()
        if self._on_close is not None:
            self._on_close(self)

    def close_soon(self) -> None:
        """Do `close`, from any thread."""
        try:
            if self.loop is not None:
                self.loop.call_soon_threadsafe(self.close)
        except RuntimeError:
            # The loop is closed: nobody waits.
            self.close()

    def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._socket)
        loop.remove_writer(self._socket)
        if self._timer is not None:
            self._timer.cancel()
        waiting, self._waiting = self._waiting, {}
        for one in waiting.values():
            _answer(one.answer, None)
        for answer in list(self._awaited.values()):
            _answer(answer, None)

    def _begin(self, timeout: float) -> None:
        if isinstance(self._socket, ssl.SSLSocket):
            raise LinkLost("TLS goes by the common connection")
        self._timeout = timeout
        self._socket.settimeout(0)

    def _on_message(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        del reply
        token = subject.removeprefix(self._prefix)
        waiting = self._waiting.pop(token, None)
        if waiting is not None:
            _answer(waiting.answer, data if is_stored(data) else None)
        elif token in self._awaited and status_of(headers)[0] is None:
            _answer(self._awaited[token], data)

    def _on_readable(self) -> None:
        try:
            self._read()
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, ProtocolError):
            self.close()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self.is_open:
            self._write(b"".join(out))

    def _write(self, data: bytes) -> None:
        if self._carry:
            self._carry += data
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:  # of the network, too: no route, or a time limit of the kernel's
            self.close()
            return
        if sent < len(data) and self.loop is not None:
            self._carry = data[sent:]
            self.loop.add_writer(self._socket, self._on_writable)

    def _on_writable(self) -> None:
        assert self.loop is not None
        self.loop.remove_writer(self._socket)
        carry, self._carry = self._carry, b""
        self._write(carry)

    def _check(self) -> None:
        assert self.loop is not None
        now = time.monotonic()
        oldest = next(iter(self._waiting.values()), None)
        if now > (self._used + self._idle if oldest is None else oldest.deadline):
            self.close()
        else:
            self._timer = self.loop.call_later(_CHECK_EVERY, self._check)


def _answer(waiting: "asyncio.Future[bytes | None] | None", data: bytes | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(data)
