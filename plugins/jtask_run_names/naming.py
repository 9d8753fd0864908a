"""What a run is called: a template filled in, or what a function returns."""

import inspect
from typing import TYPE_CHECKING, Any

from jtask.argument_keys import check_template, filled_in
from jtask.lifecycle import describe
from jtask.runtime import executing

if TYPE_CHECKING:
    from jtask.runtime import RunContext


def check_naming(value: object) -> object:
    """Return the option's value: None, a template, or a function.

    Raises:
        TypeError: It is none of these.
        ValueError: The template cannot be filled in, or the function cannot be called without
            arguments or with `parameters`.
    """
    if value is None:
        return None
    if isinstance(value, str) and value:
        check_template(value)
        return value
    if not callable(value):
        raise TypeError(f"must be a text or a function that returns one, got {value!r}")
    if not (_takes(value) or _takes(value, parameters={})):
        raise ValueError(
            f"must be called without arguments or with `parameters`, which {value!r} does not take"
        )
    return value


def name_of(naming: Any, run: "RunContext") -> str:
    """Return what a run is called.

    Args:
        naming: The option's value.
        run: The run, with its arguments.

    Raises:
        TypeError: The function returned something that is no text.
        ValueError: The template cannot be filled in, or the function failed.
    """
    if isinstance(naming, str):
        return _filled_in(naming, run)
    try:
        # It may ask `jtask.runtime`, as the task does.
        with executing(run):
            name = naming(parameters=run.parameters) if _takes(naming, parameters={}) else naming()
    except Exception as error:
        raise ValueError(f"task_run_name {naming!r} failed: {describe(error)}") from error
    if not isinstance(name, str):
        raise TypeError(f"task_run_name {naming!r} must return a text, and returned {name!r:.100}")
    return name


def _filled_in(template: str, run: "RunContext") -> str:
    try:
        return filled_in(template, run.parameters)
    except Exception as error:
        known = ", ".join(run.parameters) or "none"
        raise ValueError(
            f"task_run_name {template!r} cannot be filled in: {describe(error)}; "
            f"the parameters are: {known}"
        ) from error


def _takes(function: Any, **arguments: object) -> bool:
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError:
        return False
    except ValueError:  # no signature that Python can inspect: called, it will say so
        return not arguments
    return True
