"""Everything jtask raises on purpose.

Each class's docstring is its default message, so that the text is written once.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jtask.wire.failures import Failure


class JTaskError(Exception):
    """Something went wrong in jtask."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().partition("\n")[0])


class ConfigurationError(JTaskError):
    """A setting is wrong."""


class TaskDefinitionError(JTaskError, TypeError):
    """A task cannot be declared like this."""


class TaskKeyConflict(TaskDefinitionError):
    """Two tasks have the same key."""


class ArgumentError(JTaskError, TypeError):
    """The arguments do not fit the task's signature."""


class SerializationError(JTaskError, ValueError):
    """A value would not survive the trip to another process."""


class EnvelopeError(JTaskError, ValueError):
    """A message is not a readable jtask envelope."""


class IllegalTransition(JTaskError):
    """A run cannot move between these states."""


class BrokerError(JTaskError):
    """The broker refused or failed."""


class BrokerUnavailable(BrokerError, ConnectionError):
    """The broker cannot be reached."""


class BrokerTooOld(BrokerError):
    """The broker's version lacks something that jtask needs."""


class BrokerFull(BrokerError):
    """The broker has no room left: nothing was stored."""


class PermissionDenied(BrokerError):
    """The broker does not permit this."""


class TargetError(JTaskError):
    """A target given to `jtask serve` names nothing that can be served."""


class WorkerUnhealthy(JTaskError):
    """The worker could not get runs for too long."""


class RunNotFound(JTaskError, LookupError):
    """No run with this id is known."""


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


class SoftTimeout(JTaskError):
    """The run exceeded its soft timeout."""


class RunRefused(JTaskError):
    """A plugin refused the run."""


class RunAbandoned(BaseException):
    """The run was given up while its function still executed: what it does now counts for nothing.

    Raised by whoever called `RunContext.abandon`, once the function returns after all.
    """


class RemoteTraceback(Exception):
    """The traceback of an exception in another process, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'
