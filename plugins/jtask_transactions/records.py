"""What is kept with the broker of a transaction with a key, and of a step."""

import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jtask.errors import ResultError, SerializationError, TransactionError
from jtask.runtime import current_run
from jtask.settings import get_settings

if TYPE_CHECKING:
    from jtask.contract import Broker
    from jtask.declaration.definition import SerializerName
    from jtask.runtime import RunContext

TRANSACTIONS = "transactions"
"""The bucket of the transactions with a key."""

STEPS = "steps"
"""The bucket of the steps."""

_HEAD_ROOM = 16_384  # bytes of a record that are not its value


@dataclass(frozen=True, slots=True)
class Entry:
    """A value that was recorded.

    Attributes:
        key: Its key.
        run_id: The run that recorded it; empty outside of runs.
        at: When, seconds since the epoch.
        serializer: How the value is written.
        payload: The value.
        revision: Of the record; 0 for one that is not stored yet.
    """

    key: str
    run_id: str
    at: float
    serializer: str
    payload: bytes
    revision: int = 0

    def encode(self) -> bytes:
        """Return the record's body."""
        from jtask.wire.fields import json_line

        head = {
            "key": self.key,
            "run_id": self.run_id,
            "at": self.at,
            "serializer": self.serializer,
        }
        return b"%b\n%b" % (json_line(head), self.payload)

    @classmethod
    def decode(cls, body: bytes, revision: int, about: str) -> "Entry":
        """Return what a record holds.

        Raises:
            TransactionError: It cannot be read. To pass it over would be to do its work again.
        """
        from jtask.wire.fields import known_fields

        line, _, payload = body.partition(b"\n")
        head: Mapping[str, Any] = known_fields(line)
        try:
            return cls(
                str(head["key"]),
                str(head["run_id"]),
                float(head["at"]),
                str(head["serializer"]),
                payload,
                revision,
            )
        except (ValueError, TypeError, KeyError, OverflowError):
            raise TransactionError(f"what is recorded of {about} cannot be read") from None


async def find(broker: "Broker", bucket: str, name: str, about: str) -> Entry | None:
    """Return what is recorded under a name, or None; on the I/O loop.

    Args:
        broker: Where it is.
        bucket: Of which kind.
        name: What `record_name` returned.
        about: What it is, for messages.

    Raises:
        TransactionError: It cannot be read.
        BrokerError: The broker does not answer.
    """
    record = await broker.records.get(bucket, name)
    return None if record is None else Entry.decode(record.body, record.revision, about)


async def list_entries(broker: "Broker") -> list[Entry]:
    """Return what is recorded of transactions, oldest first; on the I/O loop.

    What cannot be read is left out.
    """
    found: list[Entry] = []
    for record in await broker.records.list(TRANSACTIONS):
        with contextlib.suppress(TransactionError):
            found.append(Entry.decode(record.body, record.revision, record.key))
    return sorted(found, key=lambda entry: entry.at)


def record_name(*parts: str) -> str:
    """Return what is recorded under keys of any text and length."""
    text = "\n".join(parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def new_entry(key: str, run: "RunContext | None", serializer: str, payload: bytes) -> Entry:
    """Return a value that is about to be recorded by a run, or outside of runs."""
    return Entry(key, "" if run is None else run.run_id, time.time(), serializer, payload)


def check_size(payload: bytes, inline_limit: int, about: str) -> None:
    """Refuse a value that is too large for a record.

    Args:
        payload: The value.
        inline_limit: The largest body of a message, in bytes.
        about: What it is, for the message.

    Raises:
        ResultError: It is. A run is not retried for it: the work is done.
    """
    at_most = inline_limit - _HEAD_ROOM
    if len(payload) > at_most:
        raise ResultError(
            f"the value of {about} has {len(payload)} bytes, and at most {at_most} are recorded: "
            f"return where it is stored instead"
        )


def serializer_here() -> "SerializerName":
    """Return how values are written here: as the task declares that executes, or the settings."""
    run = current_run()
    return get_settings().serializer if run is None else run.task.serializer


class Values:
    """Write and read the values of one kind.

    Args:
        about: What they are, for messages.
        fn: What makes them; its annotation says what JSON comes back as.
        serializer: How they are written; what a record says does not choose.
    """

    def __init__(self, about: str, fn: Callable[..., Any], serializer: "SerializerName") -> None:
        from jtask.serialization.results import ResultCodec

        self.serializer = serializer
        self._about = about
        self._codec = ResultCodec(fn, task_name="", serializer=self.serializer, subject=about)

    def encode(self, value: Any) -> bytes:
        """Write a value.

        Raises:
            ResultError: It would not come back as it is. A run is not retried for it: the work is
                done.
        """
        return self._codec.encode(value)

    def decode(self, entry: Entry) -> Any:
        """Read a value.

        Raises:
            SerializationError: It cannot be read, or was written in a way not declared here.
        """
        if entry.serializer == self.serializer:
            return self._codec.decode(entry.payload)
        if entry.serializer == "json":
            from jtask.serialization.results import read_untyped

            return read_untyped(entry.payload, self._about)
        raise SerializationError(
            f"{self._about} was written with {entry.serializer!r}, and {self.serializer!r} is "
            f"declared here: declare the same on both sides"
        )


def anything() -> Any:
    """Stand for a function that returns any value."""
