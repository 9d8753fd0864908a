"""The runs that a run waits for: whether it is ready, and what goes into its arguments."""

import time
from collections.abc import Mapping
from typing import Any

from jtask.declaration.task_info import TaskInfo
from jtask.errors import RunNotReady
from jtask.execution.asking import awaited_answer, checked_answer, log_failure
from jtask.lifecycle import Park, Retry
from jtask.needs import Needs
from jtask.outcomes import SettledRun, Upstreams
from jtask.plugins import get_plugins
from jtask.runtime import RunContext
from jtask.serialization.holes import Filling
from jtask.serialization.results import read_untyped, unpickled
from jtask.states import SUCCESSFUL
from jtask.wire.failures import error_of

_PAUSE = 1.0  # seconds until a broker that does not answer is asked again
_NO_PLUGIN_PAUSE = 60.0  # seconds until a worker that has the plugin may get the run


async def ask_for_upstreams(
    run: RunContext, needs: Needs
) -> Upstreams | Retry | Park | RunNotReady:
    """Ask the plugins for the ends of the runs that a run waits for, until one answers.

    Args:
        run: The run.
        needs: What it waits for.
    """
    # Of all plugins: it concerns runs, not tasks.
    caller = get_plugins().caller("jtask_resolve")
    if caller is None:
        reason = "no plugin of this worker knows how to wait for other runs"
        return Retry(time.time() + _NO_PLUGIN_PAUSE, reason)
    for implementation in caller.implementations:
        try:
            answer = await awaited_answer(implementation.call({"run": run, "needs": needs}), run)
            if checked_answer(answer, Mapping, Retry, Park) is not None:
                return answer  # type: ignore[no-any-return]
        except RunNotReady as error:
            return error
        except Exception as error:
            log_failure(caller, implementation, error, run)
    return unanswered()


def unanswered() -> Retry:
    """Return how a run waits whose upstreams could not be asked for."""
    return Retry(time.time() + _PAUSE, "it is not known yet how the runs ended that it waits for")


def why_not_ready(task: TaskInfo[..., Any], needs: Needs, upstreams: Upstreams) -> str | None:
    """Return why a run can never start, one sentence; None if it can.

    Args:
        task: Its task.
        needs: What it waits for.
        upstreams: How each of those ended.
    """
    for run_id in needs.run_ids:
        end = upstreams[run_id]
        if end.state.name not in SUCCESSFUL and run_id not in needs.may_fail:
            message = f": {end.state.message}" if end.state.message else ""
            return (
                f"run {run_id} of {end.task_name!r}, which it waited for, "
                f"ended as {end.state.name}{message}"
            )
    for run_id in needs.taken:
        end = upstreams[run_id]
        if end.state.name in SUCCESSFUL and (reason := _why_unusable(task, end)) is not None:
            return f"the result of run {run_id} of {end.task_name!r} cannot be passed on: {reason}"
    return None


def fillings_of(needs: Needs, upstreams: Upstreams) -> Mapping[str, Filling]:
    """Return what goes into the holes of a run's arguments.

    Args:
        needs: What it waits for.
        upstreams: How each of those ended.
    """
    return {run_id: _filling(upstreams[run_id]) for run_id in needs.taken}


def _filling(end: SettledRun) -> Filling:
    if (error := error_of(end, None)) is not None:
        return Filling(lambda: error, is_error=True)
    subject = f"the result of run {end.run_id}"
    if end.serializer == "json":
        return Filling(lambda: read_untyped(end.payload, subject), end.payload)
    # `why_not_ready` has seen to it that the task declares the same.
    return Filling(lambda: unpickled(end.payload, subject))


def _why_unusable(task: TaskInfo[..., Any], end: SettledRun) -> str | None:
    if not end.payload:
        return end.state.message or "it is not kept"
    if end.serializer not in ("json", task.serializer):
        takes = "JSON" if task.serializer == "json" else task.serializer
        return f"it is encoded with {end.serializer!r}, and task {task.name!r} takes {takes}"
    return None
