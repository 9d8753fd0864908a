"""Messages that a stream stores all or none (ADR-50), as one piece of bytes."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, repeat
from operator import add
from secrets import token_hex

from jtask.errors import BrokerError
from jtask_nats.client.protocol import CRLF, HEADER_OVERHEAD, is_subject, publish_command

BATCH_LIMIT = 1000
_COMMIT = b"Nats-Batch-Commit: 1\r\n"
_PLACES = [b"%d\r\n" % number for number in range(1, BATCH_LIMIT + 1)]

_HPUB, _EMPTY_LINE, _CRLF = repeat(b"HPUB "), repeat(CRLF), repeat(CRLF)

BatchMessage = tuple[str, bytes, bytes]
"""Subject, header lines, and body."""


class BatchMessages:
    """The messages of a batch, by column: whole columns are joined, with no step for each message.

    Args:
        subjects: Where they go.
        headers: Header lines of each, each line with its end.
        bodies: The bodies.
    """

    __slots__ = ("bodies", "headers", "subjects")

    def __init__(
        self, subjects: Sequence[str], headers: Sequence[bytes], bodies: Sequence[bytes]
    ) -> None:
        self.subjects = subjects
        self.headers = headers
        self.bodies = bodies

    @classmethod
    def of(cls, messages: Iterable[BatchMessage]) -> "BatchMessages":
        """Return some messages by column."""
        rows = list(messages)
        return cls([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])

    def __len__(self) -> int:
        return len(self.subjects)

    def __iter__(self) -> Iterator[BatchMessage]:
        return zip(self.subjects, self.headers, self.bodies, strict=True)


class AtomicBatch:
    """A batch that only has to be sent; to make one takes no loop.

    Args:
        messages: 2 to 1000, for one stream; a Nats-Msg-Id among the header lines of each.

    Raises:
        BrokerError: They are too few or too many.

    Attributes:
        messages: See above.
        largest: The subject of the largest.
        size: What that one counts against the server's max_payload, in bytes.
    """

    __slots__ = ("_ends", "largest", "messages", "size")

    def __init__(self, messages: BatchMessages) -> None:
        if not 1 < len(messages) <= BATCH_LIMIT:
            raise BrokerError(f"a batch has 1 to {BATCH_LIMIT} messages, not {len(messages)}")
        self.messages = messages
        # A copy that is sent again has the same batch id: with what the server still holds of a
        # torn copy it finds a gap, refuses the batch as incomplete and forgets both (ADR-50).
        line = b"Nats-Batch-Id: %b\r\nNats-Batch-Sequence: " % token_hex(8).encode()
        *ends, end_of_last = map(line.__add__, _PLACES[: len(messages)])
        self._ends = [*ends, end_of_last + _COMMIT]
        self.largest, self.size = _largest(messages, self._ends)

    def command(self, reply: str) -> bytes:
        """Return what is to be written.

        Args:
            reply: Where the answer is expected.
        """
        messages, (*ends, end_of_last) = self.messages, self._ends
        # Only the commit is answered: to wait for the first message would cost a round trip.
        block = messages.headers[-1] + end_of_last
        commit = publish_command(messages.subjects[-1], reply, block, messages.bodies[-1])
        # In one go: half a megabyte that is copied once more takes as long as all steps before.
        return b"".join(chain(_parts(messages, ends), (commit,)))


def are_subjects(texts: Collection[str]) -> bool:
    """Do `is_subject` for many strings at once."""
    longest, whole = max(texts, key=len), "".join(texts)
    return "" not in texts and is_subject(longest) and " " not in whole and whole.isprintable()


def _parts(messages: BatchMessages, ends: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the parts of the commands of as many messages as have ends of their headers.

    As `publish_command` writes each, in a few steps for all of them: there are a thousand.
    """
    subjects, headers, bodies = messages.subjects, messages.headers, messages.bodies
    sizes = map(_sizes, map(len, headers), map(len, ends), map(len, bodies))
    parts = (_HPUB, map(str.encode, subjects), sizes, headers, ends, _EMPTY_LINE, bodies, _CRLF)
    return chain.from_iterable(zip(*parts, strict=False))


@lru_cache(maxsize=1024)
def _sizes(headers: int, end: int, body: int) -> bytes:
    # Nearly always of a few kinds only.
    block = headers + end + HEADER_OVERHEAD
    return b"  %d %d\r\nNATS/1.0\r\n" % (block, block + body)


def _largest(messages: BatchMessages, ends: Sequence[bytes]) -> tuple[str, int]:
    blocks = map(add, map(len, messages.headers), map(len, ends))
    sizes = list(map(add, blocks, map(len, messages.bodies)))
    size = max(sizes)
    return messages.subjects[sizes.index(size)], size + HEADER_OVERHEAD
