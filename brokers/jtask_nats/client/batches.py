"""Messages that a stream stores all or none (ADR-50), as one piece of bytes."""

from collections.abc import Collection, Iterator
from secrets import token_hex
from typing import Protocol

from jtask.errors import BrokerError
from jtask_nats.client.protocol import HEADER_OVERHEAD, is_subject, publish_command

BATCH_LIMIT = 1000
_COMMIT = b"Nats-Batch-Commit: 1\r\n"

BatchMessage = tuple[str, bytes, bytes]
"""Subject, header lines, and body."""


class BatchMessages(Protocol):
    """Some of them, such as a list, or what makes them anew each time."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[BatchMessage]: ...


class AtomicBatch:
    """A batch that only has to be sent; to make one takes no loop.

    Args:
        messages: 2 to 1000, for one stream; a Nats-Msg-Id among the header lines of each.

    Raises:
        BrokerError: They are too few or too many.

    Attributes:
        messages: See above.
        subjects: Where they go.
        largest: The subject of the largest.
        size: What that one counts against the server's max_payload, in bytes.
    """

    __slots__ = ("_commands", "_commit", "largest", "messages", "size", "subjects")

    def __init__(self, messages: BatchMessages) -> None:
        if not 1 < len(messages) <= BATCH_LIMIT:
            raise BrokerError(f"a batch has 1 to {BATCH_LIMIT} messages, not {len(messages)}")
        self.messages = messages
        subjects: list[str] = []
        commands: list[bytes] = []
        self.largest, self.size = "", 0
        # A copy that is sent again has the same batch id: with what the server still holds of a
        # torn copy it finds a gap, refuses the batch as incomplete and forgets both (ADR-50).
        line = b"Nats-Batch-Id: %b\r\nNats-Batch-Sequence: " % token_hex(8).encode()
        fixed = HEADER_OVERHEAD + len(line) + len(b"\r\n")
        subject, headers, body = "", b"", b""
        for number, (subject, headers, body) in enumerate(messages, 1):
            block = fixed + len(headers) + len(str(number))
            size = block + len(body)
            if size > self.size:
                self.largest, self.size = subject, size
            subjects.append(subject)
            # As `publish_command` writes each, in one step: there are a thousand of them.
            commands.append(
                b"HPUB %b  %d %d\r\nNATS/1.0\r\n%b%b%d\r\n\r\n%b\r\n"
                % (subject.encode(), block, size, headers, line, number, body)
            )
        self.subjects = frozenset(subjects)
        # The last one is to be written anew, with a subject for the answer.
        del commands[-1]
        self._commands = b"".join(commands)
        block_of_last = b"%b%b%d\r\n%b" % (headers, line, len(subjects), _COMMIT)
        self._commit = (subject, block_of_last, body)
        size = HEADER_OVERHEAD + len(block_of_last) + len(body)
        if size > self.size:
            self.largest, self.size = subject, size

    def command(self, reply: str) -> bytes:
        """Return what is to be written.

        Args:
            reply: Where the answer is expected.
        """
        # Only the commit is answered: to wait for the first message would cost a round trip.
        subject, block, body = self._commit
        return self._commands + publish_command(subject, reply, block, body)


def are_subjects(texts: Collection[str]) -> bool:
    """Do `is_subject` for many strings at once."""
    longest, whole = max(texts, key=len), "".join(texts)
    return "" not in texts and is_subject(longest) and " " not in whole and whole.isprintable()
