"""Outcomes that go off before the I/O thread knows that their runs are over."""

from collections.abc import Callable
from typing import TypeGuard

from jtask.errors import BrokerError
from jtask.execution.dispositions import Disposition, StoreOutcome
from jtask.execution.job import Job

OnAnswer = Callable[[bool | BrokerError], None]


class SentOutcome:
    """What the thread that executed a run has sent; its answer may come before its news does.

    Both come on the I/O thread, so no lock is needed.
    """

    __slots__ = ("_answer", "_on_answer")

    def __init__(self) -> None:
        self._answer: bool | BrokerError | None = None
        self._on_answer: OnAnswer | None = None

    def answered(self, answer: bool | BrokerError) -> None:
        """Take the broker's answer."""
        if self._on_answer is None:
            self._answer = answer
        else:
            self._on_answer(answer)

    def then(self, on_answer: OnAnswer) -> None:
        """Call a function with the answer: soon, or at once if it has come."""
        if self._answer is None:
            self._on_answer = on_answer
        else:
            on_answer(self._answer)


End = tuple[Job, Disposition, SentOutcome | None]
"""A run that has ended, what to do with it, and what was sent of it."""


def is_one_message(disposition: Disposition, job: Job) -> TypeGuard[StoreOutcome]:
    """Tell whether a run is over with one message, as nearly all are."""
    return (
        isinstance(disposition, StoreOutcome)
        and disposition.blob is None
        and disposition.letter is None
        and job.envelope.blob is None
        and not job.counted
    )
