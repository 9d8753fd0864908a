"""A message that a stream has not acknowledged yet, and how its acknowledgement reads."""

import asyncio
import concurrent.futures
import json
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jtask.errors import BrokerError
from jtask_nats.client.nats_errors import ApiError, api_error


class PubAck(NamedTuple):
    """A stream has the message.

    Attributes:
        seq: Its sequence number in the stream.
        duplicate: It was there already, by its Nats-Msg-Id.
        value: The new value, on a stream of counters; None for a duplicate.
    """

    seq: int
    duplicate: bool = False
    value: int | None = None


OnOutcome = Callable[[bytes | BrokerError], None]
"""Called with the stream's raw answer (see `read_ack`), or with an error."""


class PendingPublish:
    """All that is needed to send a message again, and who waits for the answer.

    Args:
        subjects: What it is published to; several for a batch.
        command: What goes over the wire.
        size: The largest part that counts against the server's max_payload.
        deadline: When its time is up, on the monotonic clock.
        resolve: Called once with the answer or the error; on the loop.
    """

    __slots__ = (
        "command",
        "deadline",
        "refusal",
        "resolve",
        "retry_at",
        "sent",
        "sent_at",
        "size",
        "subjects",
    )

    def __init__(
        self,
        subjects: Sequence[str],
        command: bytes,
        size: int,
        deadline: float,
        resolve: OnOutcome,
    ) -> None:
        self.subjects = subjects
        self.command = command
        self.size = size
        self.deadline = deadline
        self.resolve = resolve
        self.sent = 1
        self.sent_at = 0.0  # of the last copy but the first
        self.retry_at: float | None = None
        self.refusal: BrokerError | None = None

    @property
    def subject(self) -> str:
        """One of its subjects, for a message to people."""
        return next(iter(self.subjects))


class BlockingOutcome:
    """What a blocked thread waits for; a bare lock is the lightest thing that can be waited for."""

    __slots__ = ("_lock", "outcome")

    def __init__(self) -> None:
        self.outcome: bytes | BrokerError | None = None
        self._lock = threading.Lock()
        self._lock.acquire()

    def resolve(self, outcome: bytes | BrokerError) -> None:
        """Wake the thread."""
        if self.outcome is None:
            self.outcome = outcome
            self._lock.release()

    def wait(self, seconds: float) -> bool:
        """Block until it is resolved; False when it was not in time."""
        return self._lock.acquire(timeout=max(seconds, 0.0))


def resolve_future(future: "asyncio.Future[PubAck]", outcome: bytes | BrokerError) -> None:
    """Complete a future with a stream's answer or an error."""
    if future.done():
        return
    if isinstance(outcome, BrokerError):
        future.set_exception(outcome)
    else:
        future.set_result(read_ack(outcome))


def resolve_elsewhere(
    future: "concurrent.futures.Future[PubAck]", outcome: bytes | BrokerError
) -> None:
    """Do `resolve_future` for one that is awaited elsewhere than on the loop."""
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(outcome, BrokerError):
        future.set_exception(outcome)
    else:
        future.set_result(read_ack(outcome))


def is_stored(data: bytes) -> bool:
    """Tell whether a stream's answer to a publish says that it has the message."""
    # By bytes, not json.loads: this runs for every publish. An error is the first field, so the
    # word cannot come from a stream's name.
    return b'"seq":' in data and data.find(b'"error":', 0, 16) < 0


def refusal_in(data: bytes, subject: str) -> ApiError | None:
    """Return the error in a stream's answer to a publish, if it is one."""
    if is_stored(data):
        return None
    try:
        return api_error(json.loads(data)["error"], subject)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ApiError(0, 0, f"it answered {data[:80]!r}", subject)


def read_ack(data: bytes) -> PubAck:
    """Read a stream's answer that is not a refusal."""
    seq, more, rest = data[data.find(b'"seq":') + 6 : -1].partition(b",")
    # The usual answer ends with the sequence; a comma means a duplicate, a counter or a batch.
    if not more:
        return PubAck(int(seq))
    return PubAck(int(seq), b'"duplicate"' in rest, _value(data) if b'"val"' in rest else None)


def _value(data: bytes) -> int:
    return int(json.loads(data)["val"])
