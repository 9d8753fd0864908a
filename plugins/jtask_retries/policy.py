"""When a failed run is tried again: decisions only, no I/O, no clock."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from jtask.errors import RetryAfter, TaskDefinitionError
from jtask.lifecycle import Retry, describe
from jtask.settings import settings_of
from jtask_retries.jitter import spread
from jtask_retries.options import delays_of
from jtask_retries.settings import RetrySettings

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo

_LONGEST = 10 * 365 * 86_400.0  # seconds; a delay that doubles each time soon leaves the calendar


@dataclass(frozen=True, slots=True)
class Policy:
    """How one task's runs are retried.

    Attributes:
        retries: How many, beyond the first attempt.
        delays: Seconds before each; the last one serves for all further ones, none is at once.
        jitter: How far a delay may grow, as a share of it.
        condition: Whether to try again, asked with task, run and state.
        only: Exceptions that are tried again; None is all.
    """

    retries: int
    delays: list[float]
    jitter: float = 0.0
    condition: Callable[..., Any] | None = None
    only: tuple[type[Exception], ...] | None = None

    def covers(self, error: BaseException) -> bool:
        """Tell whether an error is one of those to try again.

        A group is, if it is named itself or all that is in it would be tried again alone: one
        member that is not may have failed for good, and its work would be repeated in vain.
        """
        if self.only is None or isinstance(error, (*self.only, RetryAfter)):
            return True
        if not isinstance(error, ExceptionGroup):
            return False
        return all(map(self.covers, cast("ExceptionGroup[Exception]", error).exceptions))

    def delay(self, attempt: int) -> float:
        """Return the seconds between a failed attempt, counted from 1, and the next one."""
        if not self.delays:
            return 0.0
        delay = self.delays[min(attempt, len(self.delays)) - 1]
        return spread(delay, self.jitter) if self.jitter else delay

    def retry(self, attempt: int, error: BaseException, now: float) -> Retry:
        """Return the retry that follows a failed attempt."""
        delay = error.seconds if isinstance(error, RetryAfter) else self.delay(attempt)
        # The instant, not the delay, is kept: a broker that gets the run late does not add to it.
        at = now + min(delay, _LONGEST)
        when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        next_one = f"attempt {attempt + 1} of {self.retries + 1} at {when}"
        return Retry(at, f"{describe(error)}; {next_one}")


def policy_of(task: "TaskInfo[..., Any]") -> Policy:
    """Return a task's policy, from its options and the settings.

    Raises:
        TaskDefinitionError: Its function for the delays gives no list of delays.
    """
    # None means the setting, which is asked in the process that executes the run.
    options = cast("Mapping[str, Any]", task.options)
    defaults = settings_of(RetrySettings)
    retries: int = _given(options["retries"], defaults.default_retries)
    delay = _given(options["retry_delay_seconds"], defaults.default_retry_delay_seconds)
    return Policy(
        retries,
        # A function for the delays is not called for a task that is never retried.
        _delays(task, delay, retries) if retries else [],
        options["retry_jitter_factor"] or 0.0,
        options["retry_condition_fn"],
        options["retry_on"],
    )


def _given(value: Any, default: Any) -> Any:
    return default if value is None else value


def _delays(task: "TaskInfo[..., Any]", delay: Any, retries: int) -> list[float]:
    try:
        if callable(delay):
            delay = delay(retries)
        return delays_of([delay] if isinstance(delay, int | float) else delay)
    except Exception as error:
        raise TaskDefinitionError(
            f"task {task.name!r}, option 'retry_delay_seconds', with retries={retries}: {error}"
        ) from error
