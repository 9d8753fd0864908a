"""The options of flows."""

from typing import TYPE_CHECKING, Any

from jtask.options import Option

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo


def declared() -> list[Option]:
    """Return the options, each with its check."""
    return [
        Option(
            "validate_parameters",
            check=_flag,
            help="Check and convert the parameters by the annotations; None does so for flows.",
        ),
    ]


def validates(task: "TaskInfo[..., Any]") -> bool:
    """Tell whether the parameters of a task's runs are checked before its body."""
    wanted = task.options.get("validate_parameters")
    return task.is_flow if wanted is None else bool(wanted)


def _flag(value: object) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"must be True, False or None, got {value!r}")
    return value
