"""Check and convert the parameters of a call by the annotations of its function."""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from jtask.declaration.binding import bind_arguments
from jtask.errors import ArgumentError

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo

Parameters = tuple[tuple[Any, ...], dict[str, Any]]


def validated(
    task: "TaskInfo[..., Any]", args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Parameters:
    """Return the parameters of a call as the annotations have them.

    Args:
        task: Whose function is called.
        args: Positional arguments; a method's receiver comes first.
        kwargs: Keyword arguments.

    Raises:
        ArgumentError: One of them does not fit; the message says which.
    """
    from pydantic import ValidationError

    try:
        return _validator(task.fn)(*args, **kwargs)
    except ValidationError as error:
        # What the function cannot be called with at all is no matter of annotations.
        bind_arguments(task.name, task.signature, args, kwargs)
        raise ArgumentError(_sentence(task, error.errors(include_url=False))) from None


@functools.cache
def _validator(fn: Callable[..., Any]) -> Callable[..., Parameters]:
    from pydantic import ConfigDict, validate_call

    @functools.wraps(fn)
    def keep(*args: Any, **kwargs: Any) -> Parameters:
        return args, kwargs

    # Its own return value is not what the annotations speak of, and is not looked at.
    config = ConfigDict(arbitrary_types_allowed=True)
    return cast("Callable[..., Parameters]", validate_call(config=config)(keep))


def _sentence(task: "TaskInfo[..., Any]", errors: list[Any]) -> str:
    names = list(task.signature.parameters)
    problems = "; ".join(f"{_place(one['loc'], names)}: {one['msg']}" for one in errors)
    return (
        f"the parameters of {task.name!r} do not fit its annotations: {problems}; "
        f"pass values that fit, or declare it with validate_parameters=False"
    )


def _place(location: tuple[int | str, ...], names: list[str]) -> str:
    # What was passed by position is told by number.
    first, *rest = location
    if isinstance(first, int) and first < len(names):
        first = names[first]
    return ".".join(map(str, (first, *rest)))
