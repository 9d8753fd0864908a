"""The plugin that lets tenants take turns on a queue: `fair_key=`.

Of each tenant only so many runs wait on the queue itself; the others are parked, and one is woken
for each that starts, of one tenant after the other.
"""

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from jtask.hooks import hookimpl
from jtask_fairness.options import declared

if TYPE_CHECKING:
    from jtask.claims import Claim
    from jtask.declaration import TaskInfo
    from jtask.options import Option
    from jtask.runtime import EnqueueRequest, RunContext, WorkerInfo
    from jtask.settings import SettingsModel

HEADER = "jtask-fair"
"""The header of a run that takes turns with others: its tenant."""


@hookimpl
def jtask_options() -> "list[Option]":
    """Declare `fair_key`."""
    return declared()


@hookimpl
def jtask_settings() -> "type[SettingsModel]":
    """Declare how many runs are not parked."""
    from jtask_fairness.settings import FairnessSettings

    return FairnessSettings


@hookimpl
def jtask_headers() -> list[str]:
    """Know the runs that take turns, although their task has no `fair_key` here."""
    return [HEADER]


@hookimpl
def jtask_applies(task: "TaskInfo[..., object]") -> bool:
    """Apply to tasks with a `fair_key`."""
    return task.options["fair_key"] is not None


@hookimpl
def jtask_enqueue(request: "EnqueueRequest") -> "Claim | None":
    """Park a run behind those of its tenant."""
    from jtask_fairness.calls import claim_for

    return claim_for(request, HEADER)


@hookimpl
def jtask_admit(run: "RunContext") -> None:
    """Wake a run of the next tenant, as this one leaves the queue."""
    if run.queue is not None and HEADER in run.headers:
        from jtask_fairness.turns import run_starts

        run_starts(run.queue, run.headers[HEADER])


@hookimpl
def jtask_worker(worker: "WorkerInfo") -> AbstractAsyncContextManager[None] | None:
    """Look after the turns on the queues of the worker's tasks."""
    queues = {task.queue for task in worker.tasks if task.options.get("fair_key") is not None}
    if not queues:
        return None
    from jtask_fairness.upkeep import looked_after

    return looked_after(worker.worker, sorted(queues))
