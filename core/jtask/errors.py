"""Everything jtask raises on purpose.

Each class's docstring is its default message, so that the text is written once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from jtask.foreign_text import cut
from jtask.numbers import is_within

_CAUSES = 5  # of causes, read of what another process wrote
_TYPE_NAME = 500  # characters of the name of an exception's class


class JTaskError(Exception):
    """Something went wrong in jtask."""

    def __init__(self, message: str | None = None) -> None:
        # `python -OO` leaves classes without docstrings.
        super().__init__(message or (self.__doc__ or "").strip().partition("\n")[0])


E = TypeVar("E", bound=JTaskError)


def reworded(error: E, message: str) -> E:
    """Return an error of the same kind, as this module knows kinds, that says something else."""
    # A broker's own classes may be made of other things than a sentence.
    kind = next(one for one in type(error).__mro__ if one.__module__ == __name__)
    return cast("E", kind(message))


class ConfigurationError(JTaskError):
    """A setting is wrong."""


# Errors that Python has a name for derive from it too, so that `except TypeError` works as ever. A
# value out of range is the one to some, and the other to others.
class TaskDefinitionError(JTaskError, TypeError, ValueError):
    """A task cannot be declared like this."""


class TaskKeyConflict(TaskDefinitionError):
    """Two tasks have the same key."""


class ArgumentError(JTaskError, TypeError):
    """The arguments do not fit the task's signature."""


class SerializationError(JTaskError, ValueError):
    """A value would not survive the trip to another process."""


class ResultError(SerializationError):
    """What the task returned would not survive the trip to another process."""


class EnvelopeError(JTaskError, ValueError):
    """A message is not a readable jtask envelope."""


class IllegalTransition(JTaskError):
    """A run cannot move between these states."""


class BrokerError(JTaskError):
    """The broker refused or failed."""


class BrokerUnavailable(BrokerError, ConnectionError):
    """The broker cannot be reached."""


class BrokerTooOld(BrokerError):
    """The broker is too old for jtask."""


class BrokerFull(BrokerError):
    """The broker has no room left: nothing was stored."""


class MessageRefused(BrokerError):
    """The broker will never take this message: it is too large, or its address is none."""


class PermissionDenied(BrokerError):
    """The broker does not permit this."""


class TargetError(JTaskError):
    """A target of `jtask serve` contains nothing that can be served."""


class WorkerUnhealthy(JTaskError):
    """The worker could not get runs for too long."""


class RunNotFound(JTaskError, LookupError):
    """No run with this id is known."""


class ResultExpired(RunNotFound):
    """The result of this run is no longer kept."""


class ResultMissing(JTaskError, LookupError):
    """The run has completed, and its result was not recorded."""


class RunUnfinished(JTaskError):
    """The run is not over."""


class ResultTimeout(JTaskError, TimeoutError):
    """The run did not end in time."""


class RunFailed(JTaskError):
    """The run did not complete."""


class TaskFailed(RunFailed):
    """The task raised an exception that cannot be rebuilt here.

    Attributes:
        failure: What is known of it.
    """

    def __init__(self, message: str | None = None, failure: "Failure | None" = None) -> None:
        super().__init__(message)
        self.failure = failure


class RunTimedOut(RunFailed, TimeoutError):
    """The run exceeded its timeout."""


class RunCrashed(RunFailed):
    """The process that executed the run died, or the task raised a BaseException."""


class ProcessDied(RunCrashed):
    """The child process that executed the run died."""


class RunCancelled(RunFailed):
    """The run was cancelled."""


class RunExpired(RunFailed):
    """The run was not started before it expired."""


class RunNotReady(RunFailed):
    """Something the run waited for did not complete."""


class RunDeadlock(JTaskError, ValueError):
    """A run waits for a run that waits for it, or that needs the event loop it blocks meanwhile."""


class MappingLengthMismatch(JTaskError, ValueError):
    """What a task is mapped over has several lengths."""


class MappingMissingIterable(JTaskError, ValueError):
    """None of the arguments can be mapped over."""


class SoftTimeout(JTaskError):
    """The run exceeded its soft timeout."""


class RunRefused(JTaskError):
    """A plugin refused the run."""


class NotUnique(JTaskError):
    """A run with the same key is not over yet.

    Attributes:
        run_id: That run; empty when it is one of the same call, none of which was stored.
    """

    def __init__(self, message: str | None = None, run_id: str = "") -> None:
        super().__init__(message)
        self.run_id = run_id


class LimitNotFound(JTaskError, LookupError):
    """There is no limit with this name."""


class LimitTimeout(JTaskError, TimeoutError):
    """No slot of a limit was free in time."""


class IndexUnavailable(JTaskError, ConnectionError):
    """The database of the index cannot be reached, or refuses."""


class FilterError(JTaskError, ValueError):
    """This does not say which runs are meant."""


class TransactionError(JTaskError, RuntimeError):
    """A transaction was used in a way in which it cannot be."""


class CommitFailed(TransactionError):
    """The transaction could not be committed, and was rolled back."""


class TransactionValueNotFound(JTaskError, ValueError, LookupError):
    """Neither the transaction nor one around it has a value of this name."""


class NotInRun(JTaskError, RuntimeError):
    """This belongs inside a task that is being executed."""


class RetryAfter(JTaskError):
    """Raise it in a task for a retry of its run after so many seconds.

    It takes the place of `retry_delay_seconds`, and `retry_on` and `retry_condition_fn` are not
    asked. `retries` says how often: without one left, the run fails with this error.

    Attributes:
        seconds: 0 or more.
        message: Why, for people.

    Raises:
        ValueError: Not a number of 0 or more.
    """

    def __init__(self, seconds: float, message: str | None = None) -> None:
        if not is_within(seconds):
            raise ValueError(f"RetryAfter takes 0 or more seconds, got {seconds!r}")
        self.message = message or f"to be retried after {seconds:g} s, as often as retries= says"
        super().__init__(self.message)
        self.seconds = seconds
        # What makes it again, where it comes out of a child process.
        self.args = (seconds, message)

    def __str__(self) -> str:
        return self.message


# Not an Exception: an `except Exception` in a task must not swallow it.
class RunAbandoned(BaseException):
    """The run was given up while its function still executed: what it does now counts for nothing.

    Raised by whoever called `RunContext.abandon`, once the function returns after all; and when one
    returns whose run the worker has handed back.
    """


class RemoteTraceback(Exception):
    """The traceback of an exception in another process, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        # As concurrent.futures does it: Python prints this as the text of the cause.
        return f'\n"""\n{self.text}"""'


@dataclass(frozen=True, slots=True)
class Failure:
    """What is known of an exception that was raised elsewhere.

    Attributes:
        type: `module.QualName` of its class.
        message: Its `str()`.
        args: What its class can be called with to make it again; None when JSON cannot say.
        traceback: As Python prints it, from the task's own frame on, causes included.
        notes: What `add_note` added.
        cause: What it was raised from or during; its own traceback is part of the outer one.
    """

    type: str
    message: str
    args: list[Any] | None = None
    traceback: str = ""
    notes: list[str] = field(default_factory=list[str])
    cause: "Failure | None" = None

    @property
    def summary(self) -> str:
        """`ValueError: message`, as Python would print it."""
        name = self.type.removeprefix("builtins.")
        return f"{name}: {self.message}" if self.message else name

    def to_json(self) -> dict[str, Any]:
        """Return the form that docs/wire-format.md describes; what is empty is left out."""
        data: dict[str, Any] = {"type": self.type, "message": self.message}
        if self.args is not None:
            data["args"] = self.args
        if self.traceback:
            data["traceback"] = self.traceback
        if self.notes:
            data["notes"] = self.notes
        if self.cause:
            data["cause"] = self.cause.to_json()
        return data

    @classmethod
    def from_json(cls, data: Any) -> "Failure":
        """Return the failure that `to_json` wrote, here or elsewhere.

        A worker in any language may have written it, and an odd report must not hide that a run
        failed: what is missing or of another type counts as empty.
        """
        return _from_json(data, _CAUSES)


def _from_json(data: Any, depth: int) -> Failure:
    known = cast("dict[str, Any]", data) if isinstance(data, dict) else {"message": str(data)}
    cause = known.get("cause")
    return Failure(
        type=cut(str(known.get("type") or "Exception"), _TYPE_NAME),
        message=str(known.get("message") or ""),
        args=_as_list(known.get("args")),
        traceback=str(known.get("traceback") or ""),
        notes=[str(note) for note in _as_list(known.get("notes")) or []],
        cause=_from_json(cause, depth - 1) if cause and depth else None,
    )


def _as_list(value: object) -> list[Any] | None:
    return list(cast("Iterable[Any]", value)) if isinstance(value, list) else None
