"""How far a run is, as it says itself and as it is stored."""

from dataclasses import asdict, dataclass
from typing import Any

from jtask.errors import EnvelopeError
from jtask.wire import fields

BUCKET = "progress"
"""The bucket of records in which the latest of each run is kept, under its id."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        done: How much is done.
        total: How much there is; None where that is not known.
        message: What it is at, one sentence; may be empty.
        at: When it said so, seconds since the epoch.
        attempt: Which attempt said so.
    """

    done: float
    total: float | None = None
    message: str = ""
    at: float = 0.0
    attempt: int = 1

    @property
    def fraction(self) -> float | None:
        """The part that is done, from 0 to 1; None where the total is not known, or is 0."""
        return None if not self.total else min(1.0, max(0.0, self.done / self.total))

    def __str__(self) -> str:
        amount = f"{self.done:g}" if self.total is None else f"{self.done:g}/{self.total:g}"
        return f"{amount} {self.message}".rstrip()

    def encode(self) -> bytes:
        """Return it as it is stored: one line of JSON."""
        return fields.json_line(asdict(self))


def decode_progress(body: bytes) -> Progress:
    """Read what `Progress.encode` returned, here or in another language.

    Raises:
        EnvelopeError: It says nothing that can be read.
    """
    head: dict[str, Any] = fields.json_object(body)
    try:
        return Progress(
            fields.number(head["done"]),
            fields.if_given(fields.number, head.get("total")),
            fields.text(head.get("message", "")),
            fields.seconds(head.get("at", 0.0)),
            fields.count(head.get("attempt", 1)),
        )
    except KeyError as error:
        raise EnvelopeError(f"the progress has no field {error}") from None
