"""Bind the arguments of a call to the parameters of a task, or say in a sentence what is wrong."""

import inspect
from collections.abc import Mapping
from typing import Any

from jtask.close_names import close_names
from jtask.errors import ArgumentError, TaskDefinitionError
from jtask.foreign_text import quoted

_VAR = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

# What is said of a run, and not to its function.
_OF_THE_RUN = {
    name: f"; give it to .apply_async(args, kwargs, {name}=...)"
    for name in ("wait_for", "countdown", "eta", "expires", "queue", "priority")
} | {"return_state": "; use run.wait(), and then run.state"}


def bind_arguments(
    task_name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> inspect.BoundArguments:
    """Return the arguments of a call by parameter name.

    Args:
        task_name: For messages.
        signature: That of the task's function.
        args: Positional arguments.
        kwargs: Keyword arguments.

    Raises:
        ArgumentError: They do not fit.
    """
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        reason = _mismatch(signature, args, kwargs) or f"cannot be called like this: {error}"
        raise ArgumentError(f"task {task_name!r} {reason}") from None


def arguments_by_name(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments that somebody has put together, as a dict of their own.

    Raises:
        TaskDefinitionError: A key is no string.
    """
    for name in given:
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TaskDefinitionError(f"the names of arguments are strings, got {quoted(name)}")
    return dict(given)


def unknown_argument(signature: inspect.Signature, name: str) -> str:
    """Return what is wrong with an argument that no parameter takes."""
    known = [other for other in signature.parameters if other != name]
    near = close_names(name, known)
    hint = f"; did you mean {near[0]!r}?" if near else _OF_THE_RUN.get(name, "")
    return f"has no argument {name!r}{hint}"


def missing_argument(name: str) -> str:
    """Return what is wrong where a required argument is not given."""
    return f"is missing argument {name!r}"


def doubled_argument(name: str) -> str:
    """Return what is wrong where an argument is given by position and by name."""
    return f"has two values for argument {name!r}"


def _mismatch(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> str:
    """Return why arguments do not fit; first what may be a slip of the pen."""
    parameters = signature.parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    positional = [name for name, each in parameters.items() if each.kind in _BY_POSITION]
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for name in kwargs:
            if name not in parameters or parameters[name].kind in _VAR:
                return unknown_argument(signature, name)
            if parameters[name].kind not in _BY_NAME:
                return f"takes argument {name!r} by position only"
    if len(args) > len(positional) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        return f"takes {len(positional)} positional arguments, got {len(args)}"
    if twice := [name for name in positional[: len(args)] if name in kwargs]:
        return doubled_argument(twice[0])
    given = {*positional[: len(args)], *kwargs}
    for name, parameter in parameters.items():
        required = parameter.default is parameter.empty and parameter.kind not in _VAR
        if required and name not in given:
            return missing_argument(name)
    return ""
