"""The options of flows."""

from typing import TYPE_CHECKING, Any

from jtask.options import Option, check_flag

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo


def declared() -> list[Option]:
    """Return the options, each with its check."""
    return [
        Option(
            "task_runner",
            check=_task_runner,
            help="Where the body's .submit() and .map() execute; a new one for each run.",
        ),
        Option(
            "validate_parameters",
            check=check_flag,
            help="Check and convert the parameters by the annotations; None does so for flows.",
        ),
    ]


def validates(task: "TaskInfo[..., Any]") -> bool:
    """Tell whether the parameters of a task's runs are checked before its body."""
    wanted = task.options.get("validate_parameters")
    return task.is_flow if wanted is None else bool(wanted)


def _task_runner(value: object) -> object:
    from jtask.task_runners import TaskRunner

    if value is not None and not isinstance(value, TaskRunner):
        raise TypeError(
            f"must be a task runner, such as ThreadPoolTaskRunner(max_workers=4), got {value!r}"
        )
    return value
