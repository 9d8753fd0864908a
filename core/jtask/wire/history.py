"""What is kept of a run's earlier attempts: enough to see what happened, never too much to send.

The newest attempts keep their whole failure, older ones its last lines, and of very many the oldest
are forgotten: their numbers show the gap.
"""

from collections.abc import Sequence
from dataclasses import replace

from jtask.errors import Failure
from jtask.foreign_text import cut
from jtask.outcomes import AttemptRecord

KEPT = 100
"""How many attempts are kept."""

# All texts are measured in characters. What is too big for a message nevertheless is made `bare`.
_WHOLE = 3  # newest attempts
_WHOLE_TEXT = 16_000
_BRIEF_TEXT = 800
_MESSAGE = 300


def remember(history: Sequence[AttemptRecord], attempt: AttemptRecord) -> tuple[AttemptRecord, ...]:
    """Return a history with one more attempt.

    Args:
        history: Earlier attempts, oldest first.
        attempt: The one that just ended; its texts are cut to what is kept.
    """
    older = [_brief(past) for past in history[-KEPT + 1 : -_WHOLE + 1]]
    newest = replace(attempt, failure=shortened(attempt.failure))
    return (*older, *history[-_WHOLE + 1 :], newest)


def bare(history: Sequence[AttemptRecord]) -> tuple[AttemptRecord, ...]:
    """Return the last ten attempts without what they raised, for where there is no room."""
    return tuple(replace(attempt, failure=None) for attempt in history[-10:])


def shortened(failure: Failure | None) -> Failure | None:
    """Return a failure of which no text is longer than a few pages."""
    if failure is None:
        return None
    cause = failure.cause
    return Failure(
        type=failure.type,
        message=cut(failure.message, _WHOLE_TEXT),
        traceback=_end(failure.traceback, _WHOLE_TEXT),
        notes=[cut(note, _MESSAGE) for note in failure.notes[:10]],
        cause=None if cause is None else _summary(cause),
    )


def summary(failure: Failure | None) -> Failure | None:
    """Return the type of a failure and the beginning of its message."""
    return None if failure is None else _summary(failure)


def _brief(attempt: AttemptRecord) -> AttemptRecord:
    failure = attempt.failure
    if failure is None:
        return attempt
    text = _end(failure.traceback, _BRIEF_TEXT)
    return replace(attempt, failure=replace(_summary(failure), traceback=text))


def _summary(failure: Failure) -> Failure:
    return Failure(failure.type, cut(failure.message, _MESSAGE))


def _end(text: str, length: int) -> str:
    """Keep whole lines from the end on: there Python says what was raised, and where."""
    if len(text) <= length:
        return text
    _, _, kept = text[-length:].partition("\n")
    return f"...\n{kept or text[-length:]}"
