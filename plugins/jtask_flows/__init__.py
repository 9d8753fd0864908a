"""The plugin of what a flow adds to a task: checked parameters, and a task runner for its body."""

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any

from jtask.hooks import hookimpl
from jtask.options import Option

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo
    from jtask.runtime import RunContext


@hookimpl
def jtask_options() -> list[Option]:
    """Declare what `@flow(...)` takes beyond the options of tasks; tasks take it too."""
    from jtask_flows.options import declared

    return declared()


@hookimpl
def jtask_applies(task: "TaskInfo[..., Any]") -> bool:
    """Concern flows, and tasks that want what a flow has."""
    from jtask_flows.options import validates

    return task.is_flow or task.options.get("task_runner") is not None or validates(task)


# First of all, and so innermost: what a wrong parameter raises is then seen by the others.
@hookimpl(tryfirst=True)
def jtask_around(
    run: "RunContext",
) -> AbstractContextManager[Any] | AbstractAsyncContextManager[Any] | None:
    """Check the parameters, then let the body submit to its task runner."""
    from jtask_flows.bodies import around

    return around(run)
