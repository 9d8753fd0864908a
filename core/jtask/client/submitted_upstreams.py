"""Runs of this process, and states, among what a run of the background is called with."""

import asyncio
from typing import Any

from jtask.declaration.task_info import TaskInfo
from jtask.errors import ArgumentError, RunNotReady
from jtask.futures import Future
from jtask.lifecycle import describe
from jtask.states import State


def value_of_submitted(task: TaskInfo[..., Any], future: Future[Any], *, allowed: bool) -> Any:
    """Return the value of a submitted run, which goes along with the arguments.

    No worker could ask for it: it is in this process only. So it is waited for here.

    Args:
        task: The task that is enqueued.
        future: The run.
        allowed: Whether its exception does as well.

    Raises:
        RunNotReady: It did not complete; nothing was sent.
        ArgumentError: It is not over, and this thread has an event loop, which must not be blocked.
    """
    if not future.done() and asyncio._get_running_loop() is not None:
        raise ArgumentError(
            f"task {task.name!r} is to wait for run {future.run_id} of this process, which is not "
            f"over: await it first"
        )
    error = future.exception()
    if error is None:
        return future.result()
    if allowed:
        return error
    raise RunNotReady(
        f"task {task.name!r} was not enqueued: run {future.run_id}, which it waits for, ended as "
        f"{future.state.name}: {describe(error)}"
    )


def value_of_state(task: TaskInfo[..., Any], state: State, *, allowed: bool) -> Any:
    """Return the value of a final state, which goes along with the arguments.

    Args:
        task: The task that is enqueued.
        state: The state.
        allowed: Whether its exception does as well.

    Raises:
        RunNotReady: It is not one of a run that completed; nothing was sent.
    """
    if state.is_completed():
        return state.result()
    is_final = state.is_final()
    error = state.result(raise_on_failure=False) if is_final else RunNotReady("it is not final")
    if allowed:
        return error
    raise RunNotReady(
        f"task {task.name!r} was not enqueued: a state that it takes or waits for is "
        f"{state.label}: {describe(error)}"
    )
