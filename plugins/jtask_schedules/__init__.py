"""The plugin that runs tasks by the clock: `@task(cron="*/5 * * * *")`, `@task(every=60)`.

There is no process for it. A schedule has one pending run at a time, delayed to its instant like
any other; when that run comes, and before it starts, the next one is put in place.
"""

from collections.abc import Awaitable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from jtask.hooks import hookimpl
from jtask.options import Option
from jtask_schedules.headers import HEADER

if TYPE_CHECKING:
    import click

    from jtask.declaration import TaskInfo
    from jtask.lifecycle import Retry
    from jtask.runtime import RunContext, WorkerInfo
    from jtask.settings import SettingsModel
    from jtask_schedules.schedule import Tick

_RETRY_SECONDS = 1.0  # until a run that cannot be admitted yet, or not here, is tried again


@hookimpl
def jtask_options() -> Iterable[Option]:
    """Declare when a task runs by itself."""
    return [
        Option(
            "cron",
            check=_check_cron,
            agree=_agree,
            help="When to run: minute hour day month weekday.",
        ),
        Option(
            "timezone",
            check=_check_timezone,
            help="Time zone of the cron line; UTC by default.",
            needs=("cron",),
        ),
        Option("every", check=_check_every, help="Run at this interval: seconds or a timedelta."),
        Option(
            "missed",
            default="coalesce",
            check=_check_missed,
            help="What to do with missed runs: coalesce, skip.",
            needs=("cron", "every"),
        ),
    ]


@hookimpl
def jtask_settings() -> "type[SettingsModel]":
    """Declare how long a schedule stays that nobody declares."""
    from jtask_schedules.settings import ScheduleSettings

    return ScheduleSettings


@hookimpl
def jtask_applies(task: "TaskInfo[..., Any]") -> bool:
    """Leave tasks without a schedule alone, and refuse those that cannot be called by one."""
    if not _has_schedule(task):
        return False
    from jtask.errors import TaskDefinitionError

    try:
        # Now, for a schedule has nobody who would see the error of its first call.
        task.signature.bind()
    except TypeError as error:
        raise TaskDefinitionError(
            f"task {task.name!r} has a schedule, which calls it without arguments ({error}): "
            f"give every parameter a default"
        ) from None
    return True


@hookimpl
def jtask_headers() -> Iterable[str]:
    """See the runs of schedules also where the code of their task has none any more."""
    return [HEADER]


@hookimpl
def jtask_admit(run: "RunContext") -> "Awaitable[Retry | None] | None":
    """Put the next run of the schedule in place before this one starts."""
    if HEADER not in run.headers:
        return None
    from jtask_schedules.schedule import tick_of

    tick = tick_of(run.run_id, run.headers)
    if tick is None:
        return None
    run.scheduled_for = tick.instant
    # A retry belongs to a tick that was admitted before: by now it is a run like any other.
    return None if run.attempt > 1 else _admit(tick, has_schedule=_has_schedule(run.task))


@hookimpl
def jtask_worker(worker: "WorkerInfo") -> AbstractAsyncContextManager[None] | None:
    """Declare the schedules of the worker's tasks, and renew them until it stops."""
    if not any(map(_has_schedule, worker.tasks)):
        return None
    from jtask_schedules.renewal import renewed

    return renewed(worker)


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask schedules`."""
    from jtask_schedules.commands import schedules

    cli.add_command(schedules)


def _has_schedule(task: "TaskInfo[..., Any]") -> bool:
    return task.options.get("cron") is not None or task.options.get("every") is not None


def _agree(options: Mapping[str, object]) -> None:
    if options.get("cron") is not None and options.get("every") is not None:
        raise ValueError("give either cron or every, not both")


async def _admit(tick: "Tick", *, has_schedule: bool) -> "Retry | None":
    """Let a run start once the next one is in place; where there is no schedule, pass it on.

    Args:
        tick: Which run of which schedule.
        has_schedule: Whether the code of this worker has the schedule.

    Returns:
        Retry | None: None admits the run.

    Raises:
        RunRefused: It must not start, here or elsewhere.
        BrokerError: The next one may not be in place. Started now, this might be the schedule's
            last: nothing else puts the next one there until a worker renews its declarations.
    """
    import time

    from jtask.client import get_client
    from jtask.errors import RunRefused
    from jtask.lifecycle import Retry
    from jtask_schedules.schedule_store import ScheduleStore

    client = get_client()
    store = ScheduleStore(client.broker)
    decision = store.admit(tick) if has_schedule else store.admit_undeclared(tick)
    refusal = await client.io.bridge(decision)
    if refusal is not None:
        raise RunRefused(refusal)
    if has_schedule:
        return None
    return Retry(time.time() + _RETRY_SECONDS, "waiting for a worker that has its schedule")


def _check_cron(value: object) -> object:
    from jtask_schedules.trigger import check_cron

    return check_cron(value)


def _check_timezone(value: object) -> object:
    from jtask_schedules.trigger import check_timezone

    return check_timezone(value)


def _check_every(value: object) -> object:
    from jtask_schedules.trigger import check_every

    return check_every(value)


def _check_missed(value: object) -> object:
    from jtask_schedules.trigger import check_missed

    return check_missed(value)
