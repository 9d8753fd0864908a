"""What stands around the body of a flow."""

from collections.abc import AsyncGenerator, Generator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import TYPE_CHECKING, cast

from jtask.task_runners import TaskRunner, current_task_runner
from jtask_flows.options import validates
from jtask_flows.parameters import validated

if TYPE_CHECKING:
    from jtask.runtime import RunContext


def around(
    run: "RunContext",
) -> AbstractContextManager[None] | AbstractAsyncContextManager[None]:
    """Return the context manager for an attempt of a flow.

    Its runs are submitted to a task runner of its own, and it is not left before they are over.
    """
    return _around_async(run) if run.task.is_async else _around(run)


@contextmanager
def _around(run: "RunContext") -> Generator[None]:
    _check(run)
    with _task_runner(run):
        yield


@asynccontextmanager
async def _around_async(run: "RunContext") -> AsyncGenerator[None]:
    _check(run)
    async with _task_runner(run):
        yield


def _check(run: "RunContext") -> None:
    if validates(run.task):
        run.args, run.kwargs = validated(run.task, run.args, run.kwargs)


def _task_runner(run: "RunContext") -> TaskRunner:
    declared = cast("TaskRunner | None", run.task.options.get("task_runner"))
    return (declared or current_task_runner()).duplicate()
