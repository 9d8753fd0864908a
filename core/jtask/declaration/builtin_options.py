"""The options of the plugins that come with jtask, as type checkers and editors see them.

For the eyes of checkers only. What is accepted at run time is what the loaded plugins declare
(`jtask.hooks.jtask_options`); a test compares the two.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal, Protocol, TypedDict

Hook = Callable[[Any, Any, Any], object]
"""A function of the task, the run and the state; it may be asynchronous."""
CallKey = Callable[[Any, dict[str, Any]], str | None]
"""A function of a call and its arguments by name; None is no key."""

TransactionHook = Callable[[Any], object]
"""A function of the transaction; it may be asynchronous."""


class NameOfRun(Protocol):
    """Makes the name of a run of its arguments."""

    def __call__(self, *, parameters: dict[str, Any]) -> str:
        """Return the name."""
        ...


class Policy(Protocol):
    """What `jtask.cache_policies` has, which is on a higher floor."""

    def compute_key(
        self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any
    ) -> str | None:
        """Return the key of a run; None leaves it uncached."""
        ...


class BuiltinOptions(TypedDict, total=False):
    """What `@task(...)` and `.with_options(...)` take beyond core's own options.

    Attributes:
        retries: How many times to retry a failed run.
        retry_delay_seconds: Seconds before each retry: a number, a list, or a function of
            `retries`.
        retry_jitter_factor: Randomise each delay, up to delay * (1 + factor).
        retry_condition_fn: Called with task, run and state; return true to retry.
        retry_on: Retry only these exceptions.
        timeout_seconds: End an attempt that takes longer, as TimedOut.
        soft_timeout_seconds: Raise SoftTimeout inside a task that takes longer.
        isolation: `"process"` executes the task in a child process, which can always be killed.
        cron: When to run by itself: minute hour day month weekday.
        timezone: Time zone of the cron line; UTC by default.
        every: Run by itself at this interval: seconds or a timedelta.
        missed: What to do with missed runs of the schedule.
        dead_letter: Keep runs that failed for good.
        task_run_name: What runs are called: a template over the arguments, or a function of no
            argument or of `parameters`.
        log_prints: Have what a run prints in its log; None does as the caller of a direct call.
        limit: How many of its runs execute at once, on all workers together.
        limit_key: What the limit is for: a template over the arguments, or a function of the run
            and its arguments.
        idempotency_key: Calls with the same key are one run, for as long as its outcome is kept: a
            template over the arguments, or a function of the call and its arguments.
        unique: At most one run with the same key that is not over: True is the task with all its
            arguments; else a template, or a function.
        on_conflict: What a call gets whose unique key is taken: `"raise"` a NotUnique, or the
            `"existing"` run.
        debounce: Seconds, or a timedelta, without another call after which the last is executed.
        fair_key: Whose runs take turns on their queue: a template over the arguments, or a function
            of the call and its arguments.
        debounce_key: Which calls are debounced together, as a template or a function.
        cache_policy: What makes two runs the same work; see `jtask.cache_policies`.
        cache_key_fn: Called with the run and its arguments; returns the key of its value.
        cache_expiration: How long a value is kept: seconds or a timedelta.
        refresh_cache: Execute although a value is kept, and replace it.
        redact: Parameters, and keys inside of them, whose values are not recorded with its runs.
        persist_result: False turns the cache off.
        result_storage_key: The key as a template, such as `"{parameters[name]}"`.
        task_runner: Where `.submit()` and `.map()` of the body execute, see `jtask.task_runners`;
            each run has a new one of its kind.
        validate_parameters: Check and convert the parameters by the annotations before the body;
            None does so for flows.
        on_running: Called at the start of each attempt.
        on_completion: Called when a run has completed.
        on_failure: Called when a run has failed for good, or timed out.
        on_crashed: Called when a run has crashed.
        on_cancellation: Called when a run has been cancelled.
        on_retry: Called when a run has failed and will be retried.
        on_commit: Called when the transaction commits that a run is part of.
        on_rollback: Called to undo a run that has completed.
    """

    retries: int | None
    retry_delay_seconds: float | Sequence[float] | Callable[[int], Sequence[float]] | None
    retry_jitter_factor: float | None
    retry_condition_fn: Hook | None
    retry_on: type[Exception] | Sequence[type[Exception]] | None
    timeout_seconds: float | None
    soft_timeout_seconds: float | None
    isolation: Literal["none", "process"]
    cron: str | None
    timezone: str | None
    every: float | timedelta | None
    missed: Literal["coalesce", "skip"]
    dead_letter: bool
    task_run_name: str | Callable[[], str] | NameOfRun | None
    log_prints: bool | None
    limit: int | None
    limit_key: str | Callable[[Any, dict[str, Any]], str] | None
    fair_key: str | CallKey | None
    idempotency_key: str | CallKey | None
    unique: bool | str | CallKey | None
    on_conflict: Literal["raise", "existing"]
    debounce: float | timedelta | None
    debounce_key: str | CallKey | None
    cache_policy: Policy | None
    cache_key_fn: Callable[[Any, dict[str, Any]], str | None] | None
    cache_expiration: float | timedelta | None
    refresh_cache: bool | None
    persist_result: bool | None
    redact: Sequence[str] | None
    result_storage_key: str | None
    task_runner: Any
    validate_parameters: bool | None
    on_running: Sequence[Hook] | None
    on_completion: Sequence[Hook] | None
    on_failure: Sequence[Hook] | None
    on_crashed: Sequence[Hook] | None
    on_cancellation: Sequence[Hook] | None
    on_retry: Sequence[Hook] | None
    on_commit: Sequence[TransactionHook] | None
    on_rollback: Sequence[TransactionHook] | None
