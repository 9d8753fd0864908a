"""A connection of a thread's own: it publishes, and reads the answer itself."""

import socket
import struct
import time

from jtask_nats.client.link import Link
from jtask_nats.client.pending import refusal_in
from jtask_nats.client.protocol import publish_command


class BlockingLink(Link):
    """Publish one message after the other, each answered before the next, from any one thread."""

    def __init__(self, plain: socket.socket, replies: str) -> None:
        super().__init__(plain, replies)
        self._answer: bytes | None = None
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
        self._answer = None
        self._socket.sendall(publish_command(subject, self._replies, headers, body))
        while self._answer is None:
            self._read()
        return self._answer if refusal_in(self._answer, subject) is None else None

    def _on_message(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        del subject, reply, headers
        self._answer = data

    def _begin(self, timeout: float) -> None:
        # The kernel ends what takes too long: Python's own timeouts would ask it twice each time.
        self._socket.settimeout(None)
        seconds, part = divmod(timeout, 1)
        limit = struct.pack("@ll", int(seconds), int(part * 1e6))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, limit)
