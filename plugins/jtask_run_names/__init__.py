"""The plugin that gives runs names of their own: `task_run_name`."""

from typing import TYPE_CHECKING, Any

from jtask.argument_keys import check_names
from jtask.hooks import hookimpl
from jtask.options import Option
from jtask_run_names.naming import check_naming, name_of

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo
    from jtask.runtime import RunContext

_OPTION = "task_run_name"


@hookimpl
def jtask_options() -> list[Option]:
    """Declare what `@task(...)` takes."""
    return [
        Option(
            _OPTION,
            check=check_naming,
            fits=check_names,
            help='What runs are called: a template such as "{user.email} {day:%A}", or a function '
            "of no argument, or of `parameters`.",
            travels=True,
        )
    ]


@hookimpl
def jtask_applies(task: "TaskInfo[..., Any]") -> bool:
    """Apply to tasks whose runs have names."""
    return task.options[_OPTION] is not None


@hookimpl
def jtask_run_name(run: "RunContext") -> str:
    """Make the name of a run."""
    return name_of(run.task.options[_OPTION], run)
