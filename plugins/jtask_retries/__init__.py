"""The plugin that retries failed runs: `retries=` and the options that go with it.

It only decides. The broker keeps the run until its time, so that a waiting run takes no slot and no
worker's memory.
"""

import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from jtask.hooks import hookimpl
from jtask_retries.options import declared

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo
    from jtask.lifecycle import Retry
    from jtask.options import Option
    from jtask.runtime import RunContext
    from jtask.settings import SettingsModel


@hookimpl
def jtask_options() -> "list[Option]":
    """Declare the options of `@task(...)`."""
    return declared()


@hookimpl
def jtask_settings() -> "type[SettingsModel]":
    """Declare the defaults of tasks that do not say."""
    from jtask_retries.settings import RetrySettings

    return RetrySettings


@hookimpl
def jtask_applies(task: "TaskInfo[..., object]") -> bool:
    """Apply to tasks with retries; refuse a policy that cannot work."""
    from jtask_retries.policy import policy_of

    return policy_of(task).retries > 0


@hookimpl
def jtask_failed(
    run: "RunContext", error: BaseException
) -> "Retry | Awaitable[Retry | None] | None":
    """Retry the run if retries are left and the policy covers this error."""
    from jtask_retries.conditions import when_allowed
    from jtask_retries.policy import policy_of

    policy = policy_of(run.task)
    if run.attempt > policy.retries or not policy.covers(error):
        return None
    return when_allowed(policy, run, error, lambda: policy.retry(run.attempt, error, time.time()))
