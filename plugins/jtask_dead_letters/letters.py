"""What a dead letter says: read from its body, without any I/O.

The body is a line of JSON, which says how the run ended, and then the message as it was on the
queue. Nothing here raises for a part that cannot be read: an unreadable message is one of the
reasons for which there are letters, and such a letter must be shown and dropped like any other.
"""

from dataclasses import dataclass
from typing import Any, cast

from pydantic_core import from_json

from jtask.contract import DEFAULT_PRIORITY, TOP_PRIORITY, DeadLetter
from jtask.errors import EnvelopeError, Failure
from jtask.outcomes import SettledRun
from jtask.states import ERROR_OF
from jtask.wire.envelope import Envelope, decode_envelope, decode_outcome


@dataclass(frozen=True, slots=True)
class Letter:
    """A run that failed for good.

    Attributes:
        run_id: The run.
        queue: Where it came from.
        reason: Why it is here.
        at: Since when, seconds since the epoch.
        outcome: How it ended; None when that cannot be read.
        envelope: The run as it would be executed; None when it cannot be read.
        priority: Of the run on its queue.
    """

    run_id: str
    queue: str
    reason: str
    at: float
    outcome: SettledRun | None
    envelope: Envelope | None
    priority: int = DEFAULT_PRIORITY

    @property
    def task(self) -> str:
        """The task's key; empty when it cannot be read."""
        return self.envelope.task_key if self.envelope else ""

    @property
    def name(self) -> str:
        """The task's name; empty when it cannot be read."""
        return self.envelope.task_name if self.envelope else ""

    @property
    def state(self) -> str:
        """The final state; empty when it is not known."""
        return self.outcome.state.name.value if self.outcome else ""

    @property
    def failure(self) -> Failure | None:
        """What was raised; None for a run that ended without an exception."""
        return self.outcome.failure if self.outcome else None

    @property
    def error(self) -> str:
        """The type of what was raised, or of what `result` raises for such an end."""
        if self.envelope is None:
            return f"{EnvelopeError.__module__}.{EnvelopeError.__name__}"
        if self.failure is not None:
            return self.failure.type
        if self.outcome is None:
            return ""
        kind = ERROR_OF[self.outcome.state.name]
        return f"{kind.__module__}.{kind.__name__}"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant; what is None does not matter.

    Attributes:
        task: A task's key or name.
        error: A type's name, with or without its module.
        since: Not before this instant, seconds since the epoch.
        until: Before this instant.
    """

    task: str | None = None
    error: str | None = None
    since: float | None = None
    until: float | None = None

    def takes(self, letter: Letter) -> bool:
        """Tell whether a letter is meant."""
        return (
            (self.task is None or self.task in (letter.task, letter.name))
            and (self.error is None or _is_type(letter.error, self.error))
            and (self.since is None or letter.at >= self.since)
            and (self.until is None or letter.at < self.until)
        )


def read_letter(stored: DeadLetter) -> Letter:
    """Return what a dead letter says; what cannot be read in it is None."""
    line, _, message = stored.body.partition(b"\n")
    head = _head(line)
    return Letter(
        run_id=stored.run_id,
        queue=stored.queue,
        reason=stored.reason,
        at=stored.at,
        outcome=_outcome(head),
        envelope=_envelope(message),
        priority=_priority(head),
    )


def _head(line: bytes) -> dict[str, Any]:
    try:
        found = from_json(line)
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _outcome(head: dict[str, Any]) -> SettledRun | None:
    try:
        return decode_outcome(str(head["outcome"]).encode())
    except (EnvelopeError, KeyError):
        return None


def _priority(head: dict[str, Any]) -> int:
    found = head.get("priority")
    # Left out where it is the default one.
    if isinstance(found, int) and 0 <= found <= TOP_PRIORITY:
        return found
    return DEFAULT_PRIORITY


def _envelope(message: bytes) -> Envelope | None:
    try:
        return decode_envelope(message)
    except EnvelopeError:
        return None


def _is_type(found: str, wanted: str) -> bool:
    # Nobody types `builtins.`, and few know which module an exception is from.
    return wanted in (found, found.removeprefix("builtins."), found.rpartition(".")[2])
