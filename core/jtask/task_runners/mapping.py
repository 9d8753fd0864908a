"""What `.map()` makes of its arguments: those of each run."""

import io
from collections.abc import Iterable, Mapping, Sequence
from inspect import Parameter
from typing import Any, cast

from jtask.annotations import Annotation, allow_failure, unmapped
from jtask.declaration.task_info import TaskInfo
from jtask.errors import MappingLengthMismatch, MappingMissingIterable
from jtask.futures.future import Future
from jtask.states import State

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_SINGLE = (str, bytes, bytearray, io.IOBase, Annotation)


def calls_of(
    task: TaskInfo[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[Arguments]:
    """Return the arguments of each run of a map.

    What can be iterated over gives each run one element: of a mapping its keys, of a handle or a
    state the elements of its value, which is waited for. Strings, bytes, files and what is
    `unmapped` go to each run as they are.

    Args:
        task: The task, for messages.
        args: Positional arguments of the map.
        kwargs: Keyword arguments of the map.

    Raises:
        MappingMissingIterable: Nothing can be iterated over.
        MappingLengthMismatch: What can has several lengths.
    """
    given: dict[str | int, Any] = {index: _known(value) for index, value in enumerate(args)}
    given.update({name: _known(value) for name, value in kwargs.items()})
    columns: dict[str | int, Sequence[Any]] = {}
    for name, value in given.items():
        if (elements := _elements(value)) is not None:
            columns[name] = elements
    if not columns:
        raise MappingMissingIterable(
            f"task {task.name!r}: none of the arguments of map can be iterated over: "
            f"pass a list for at least one of them"
        )
    lengths = {name: len(each) for name, each in columns.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{_label(task, name)} has {length}" for name, length in lengths.items())
        raise MappingLengthMismatch(
            f"task {task.name!r}: what is mapped over must have one length, but {said}: "
            f"wrap what each run shall get whole in unmapped(...)"
        )
    return [_row(given, columns, row, len(args)) for row in range(next(iter(lengths.values())))]


def _known(value: Any) -> Any:
    return cast("Any", value).result() if isinstance(value, Future | State) else value


def _elements(value: Any) -> Sequence[Any] | None:
    """Return what each run gets of an argument; None where each gets all of it."""
    if isinstance(value, allow_failure):
        inner = _elements(_inside(value))
        return inner and [allow_failure(one) for one in inner]
    if isinstance(value, _SINGLE) or not isinstance(value, Iterable):
        return None
    return _listed(value)


def _row(
    given: Mapping[str | int, Any],
    columns: Mapping[str | int, Sequence[Any]],
    row: int,
    positional: int,
) -> Arguments:
    values = {
        name: columns[name][row] if name in columns else _whole(value)
        for name, value in given.items()
    }
    by_name = {str(name): value for name, value in values.items() if not isinstance(name, int)}
    return tuple(values[index] for index in range(positional)), by_name


def _whole(value: Any) -> Any:
    return _inside(value) if isinstance(value, unmapped) else value


# Taken as what may be anything: what `isinstance` makes of a value has parts of no known type.


def _inside(value: Any) -> Any:
    return value.value


def _listed(value: Any) -> list[Any]:
    return list(value)


def _label(task: TaskInfo[..., Any], name: str | int) -> str:
    if isinstance(name, str):
        return repr(name)
    parameters = list(task.signature.parameters.values())[len(task.bound) :]
    positional = [one.name for one in parameters if one.kind in _POSITIONAL]
    return repr(positional[name]) if name < len(positional) else f"argument {name + 1}"
