"""How long an attempt may take: the options, and what they mean."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from jtask.errors import RunTimedOut, SoftTimeout
from jtask.numbers import is_number
from jtask.options import Option
from jtask_timeouts.deadlines import Step

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo
    from jtask.runtime import RunContext

GRACE_SECONDS = 1.0
"""How long a run that was interrupted may take to end before stronger means are used."""

ISOLATIONS = ("none", "process")
_LONGEST = 366 * 86_400.0  # seconds; a larger number was meant to be something else


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one task, in seconds from the start of an attempt.

    Attributes:
        soft: When SoftTimeout is raised inside the task; None is never.
        hard: When the attempt is ended; None is never.
    """

    soft: float | None = None
    hard: float | None = None

    @property
    def report(self) -> float | None:
        """When the stack goes into the history: the soft limit, else half of the hard one."""
        if self.soft is not None:
            return self.soft
        # Half-way, so that it is the stack of a run that is slow, not of one that is being ended.
        return None if self.hard is None else self.hard / 2

    def note(self, stack: str) -> str:
        """Return what goes into the history of a run that is executing at `report`."""
        return f"still executing after {_seconds(self.report)}\n{stack}"

    def soft_timeout(self) -> SoftTimeout:
        """Return what is raised inside the task."""
        return SoftTimeout(f"task run exceeded soft timeout of {_seconds(self.soft)}")

    def hard_timeout(self) -> RunTimedOut:
        """Return what the attempt ends with."""
        return RunTimedOut(f"task run exceeded timeout of {_seconds(self.hard)}")


NO_LIMITS = Limits()


def began(run: "RunContext") -> float:
    """Return when the limits of a run began to count, as `time.monotonic` counts: mostly now.

    For a generator that is called directly they count from its first step.
    """
    return time.monotonic() - _spent(run)


def steps_ahead(run: "RunContext", steps: list[Step]) -> list[Step]:
    """Return those steps of a run's limits that an earlier step of its generator has not seen."""
    if run.step is None:
        return steps
    now = time.monotonic()
    return [step for step in steps if step.at > now]


def is_over(run: "RunContext", limits: Limits) -> bool:
    """Tell whether the hard limit was over already before the next step of a generator."""
    return limits.hard is not None and _spent(run) >= limits.hard


def _spent(run: "RunContext") -> float:
    if run.step is None or run.attempt_started_at is None:
        return 0.0
    return max(0.0, time.time() - run.attempt_started_at)


def limits_of(task: "TaskInfo[..., Any]") -> Limits:
    """Return the limits that a task sets."""
    options = cast("Mapping[str, float | None]", task.options)
    soft, hard = options.get("soft_timeout_seconds"), options.get("timeout_seconds")
    # Asked for each attempt of nearly all tasks.
    return NO_LIMITS if soft is None and hard is None else Limits(soft, hard)


def declared_options() -> list[Option]:
    """Return the options of this plugin."""
    return [
        Option(
            "timeout_seconds",
            check=_check_seconds,
            agree=_check_order,
            help="End an attempt that takes longer, as TimedOut.",
            travels=True,
        ),
        Option(
            "soft_timeout_seconds",
            check=_check_seconds,
            agree=_check_order,
            help="Raise SoftTimeout inside a task that takes longer, for clean-up.",
            travels=True,
        ),
        Option(
            "isolation",
            default="none",
            check=_check_isolation,
            help='"process" executes the task in a child process, which can always be killed.',
        ),
    ]


def _check_seconds(value: object) -> float | None:
    if value is None:
        return None
    if not is_number(value):
        raise TypeError(f"must be a number of seconds, got {value!r}")
    if not 0 < value <= _LONGEST:
        raise ValueError(f"must be more than 0 seconds and at most a year, got {value!r}")
    return float(value)


def _check_isolation(value: object) -> str:
    if value not in ISOLATIONS:
        raise ValueError(f'must be "none" or "process", got {value!r}')
    return str(value)


def _check_order(options: Mapping[str, object]) -> None:
    soft, hard = options.get("soft_timeout_seconds"), options.get("timeout_seconds")
    if isinstance(soft, float) and isinstance(hard, float) and soft >= hard:
        raise ValueError(
            f"soft_timeout_seconds ({soft:g}) must be less than timeout_seconds ({hard:g})"
        )


def _seconds(value: float | None) -> str:
    return f"{value:g} second{'' if value == 1 else 's'}"
