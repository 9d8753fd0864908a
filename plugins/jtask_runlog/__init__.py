"""The plugin that says in the log what a worker does: one line for each run.

Lines are for people; the fields that programs want come as `extra`, with `action` naming the event.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING

from jtask.durations import describe_seconds
from jtask.hooks import hookimpl
from jtask.rate_limited_log import RateLimitedLog
from jtask.states import StateName

if TYPE_CHECKING:
    from types import TracebackType

    from jtask.outcomes import Outcome
    from jtask.runtime import RunContext, WorkerInfo

_log = logging.getLogger("jtask.worker")
# Seconds. A run whose task is not served here comes back every ten until a worker has it.
_set_aside = RateLimitedLog(60.0)
# Ends that somebody or some plugin wanted: worth a look, but nothing broke.
_INTENDED = frozenset({StateName.CANCELLED, StateName.EXPIRED, StateName.NOT_READY})


@hookimpl
def jtask_settled(run: "RunContext", outcome: "Outcome") -> None:
    """Write one line about a run that a worker executed; a direct call raises for its caller."""
    if run.queue is None:
        return
    log = _task_log(run.task.name)
    if outcome.successful:
        # Asked before the line is put together: a worker may end thousands of runs a second.
        if log.isEnabledFor(logging.INFO):
            _write(log, logging.INFO, run, outcome, "")
    elif outcome.state.name in _INTENDED or outcome.error is None:
        level = logging.WARNING if outcome.state.name in _INTENDED else logging.ERROR
        _write(log, level, run, outcome, outcome.state.message)
    else:
        _write_failure(log, run, outcome, outcome.error)


@hookimpl
@asynccontextmanager
async def jtask_worker(worker: "WorkerInfo") -> AsyncGenerator[None]:
    """Say that the worker takes runs, and when it takes no more."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_follow(worker))
        yield


@hookimpl
def jtask_rejected(run_id: str, queue: str, reason: str) -> None:
    """Warn of runs that cannot be executed here, once a minute for each queue and reason."""
    count = _set_aside.count((queue, reason))
    if count:
        _log.warning(
            "run %s from queue %s is set aside: %s%s",
            run_id,
            queue,
            reason,
            f" (and {count - 1} more since the last warning)" if count > 1 else "",
            extra={
                "action": "run_set_aside",
                "run_id": run_id,
                "queue": queue,
                "count": count,
            },
        )


async def _follow(worker: "WorkerInfo") -> None:
    if not await worker.worker.started():
        return
    _log.info(
        "worker %s executes up to %d runs at once of %s; queues %s; broker %s",
        worker.name,
        worker.concurrency,
        ", ".join(task.name for task in worker.tasks),
        ", ".join(worker.queues),
        worker.url,
        extra={"action": "worker_started", "worker": worker.name, "queues": worker.queues},
    )
    await worker.worker.stopping()
    _log.info(
        "worker %s is stopping: it takes no new runs and lets its current runs finish",
        worker.name,
        extra={"action": "worker_stopping", "worker": worker.name},
    )


# One logger for each task, so its name is looked up once; `getLogger` takes a lock each time.
@cache
def _task_log(name: str) -> logging.Logger:
    return logging.getLogger(f"jtask.task.{name}")


def _write_failure(
    log: logging.Logger, run: "RunContext", outcome: "Outcome", error: BaseException
) -> None:
    from jtask.wire.failures import capture, first_own_frame

    # The traceback begins at the task's own code, without jtask's frames above it.
    start = first_own_frame(error, run.task.fn)
    shown = (type(error), error, start)
    _write(log, logging.ERROR, run, outcome, capture(error).summary, shown)


def _write(
    log: logging.Logger,
    level: int,
    run: "RunContext",
    outcome: "Outcome",
    reason: str,
    error: "tuple[type[BaseException], BaseException, TracebackType | None] | None" = None,
) -> None:
    state = outcome.state.name
    # Task and state stand in the template: services that collect errors group by it.
    template = f"{run.task.name.replace('%', '%%')} %s {state.value} in %s (attempt %d)%s"
    log.log(
        level,
        template,
        run.label,
        describe_seconds(run.run_time),
        run.attempt,
        f": {reason}" if reason else "",
        exc_info=error,
        extra={
            "action": "run_settled",
            "run_id": run.run_id,
            "task": run.task.name,
            "state": state.value,
            "attempt": run.attempt,
            "run_time": run.run_time,
            "queue": run.queue,
            "worker": run.worker,
        }
        | ({"run_name": run.own_name} if run.own_name else {}),
    )
