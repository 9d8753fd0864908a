"""What the log says of a run between its start and its end: lines of its task's logger.

The line about the end is the plugin `runlog`'s, which hears of ends alone: a hook for each state
would cost every run something, and these lines cost only the runs that they are about.
"""

import logging
import time
from functools import cache
from typing import TYPE_CHECKING

from jtask.durations import describe_seconds

if TYPE_CHECKING:
    from jtask.contract import Delivery
    from jtask.lifecycle import Reschedule
    from jtask.runtime import RunContext


def log_start(run: "RunContext", delivery: "Delivery", lost_worker: str) -> None:
    """Say that an attempt begins, and that it takes over from a worker that was lost.

    Args:
        run: The run.
        delivery: The broker's side of it.
        lost_worker: Who executed it last; empty when that is not known.
    """
    log = _log_of(run.task.name)
    if delivery.redelivered and delivery.lost_workers:
        log.warning(
            "%s %s is taken over%s: %s lost while it executed (attempt %d)",
            run.task.name,
            run.label,
            lost_worker and f" from {lost_worker}",
            _count(delivery.lost_workers),
            run.attempt,
            extra=_fields(run, "run_taken_over")
            | {"lost_workers": delivery.lost_workers, "lost_worker": lost_worker},
        )
    # Asked before the line is put together: a worker may start thousands of runs a second.
    if log.isEnabledFor(logging.DEBUG):
        log.debug(
            "%s %s starts (attempt %d)",
            run.task.name,
            run.label,
            run.attempt,
            extra=_fields(run, "run_started"),
        )


def log_reschedule(run: "RunContext", decision: "Reschedule") -> None:
    """Say that a run comes again: a warning for a retry, with its reason."""
    log, fields = _log_of(run.task.name), {"at": decision.at, "reason": decision.message}
    told = (run.task.name, run.label, _when(decision.at), decision.message)
    if decision.new_attempt:
        extra = _fields(run, "run_retried") | fields
        log.warning("%s %s is tried again %s: %s", *told, extra=extra)
    elif log.isEnabledFor(logging.DEBUG):
        extra = _fields(run, "run_not_admitted") | fields
        log.debug("%s %s is asked again %s: %s", *told, extra=extra)


# One logger for each task, so its name is looked up once; `getLogger` takes a lock each time.
@cache
def _log_of(name: str) -> logging.Logger:
    return logging.getLogger(f"jtask.task.{name}")


def _fields(run: "RunContext", action: str) -> dict[str, object]:
    fields: dict[str, object] = {
        "action": action,
        "run_id": run.run_id,
        "task": run.task.name,
        "attempt": run.attempt,
        "queue": run.queue,
        "worker": run.worker,
    }
    if run.own_name is not None:
        fields["run_name"] = run.own_name
    return fields


def _count(lost: int) -> str:
    return "a worker was" if lost == 1 else f"{lost} workers were"


def _when(at: float) -> str:
    pause = at - time.time()
    return "at once" if pause < 0.001 else f"in {describe_seconds(pause)}"
