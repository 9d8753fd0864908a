"""Make a task, of whatever class, of a function and what its decorator was told."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from jtask.declaration import registry
from jtask.declaration.definition import OWN_OPTIONS, Definition, unwrap
from jtask.errors import TaskDefinitionError
from jtask.tasks.task import Task

ClassOf = Callable[[Callable[..., Any]], type[Task[..., Any]]]
"""Chooses the class of a task by its function."""


def declare(
    fn: Any, options: Mapping[str, object] | None, given: dict[str, Any], class_of: ClassOf
) -> Any:
    """Return a task, which workers find from now on; without a function a decorator that makes one.

    Args:
        fn: The function; None where the decorator stands with parentheses.
        options: Options of plugins by name.
        given: jtask's own options, and others that plugins declare.
        class_of: What class the task has.

    Raises:
        TaskDefinitionError: Not a function that can be a task, an unknown option, or a value that
            is not acceptable.
        TaskKeyConflict: Another task of this process has the key.
    """
    own = {name: given.pop(name) for name in OWN_OPTIONS if name in given}
    definition = Definition().with_options({**given, **(options or {})}, **own)

    def decorate(fn: Any, /) -> Task[..., Any]:
        if isinstance(fn, Task):
            raise _already_a_task(cast("Task[..., Any]", fn))
        function, kind = unwrap(fn)
        made = class_of(function)(function, definition.changed(kind=kind))
        registry.register(made)
        return made

    return decorate if fn is None else decorate(fn)


def _already_a_task(task: Task[..., Any]) -> TaskDefinitionError:
    return TaskDefinitionError(
        f"{task.name!r} is a task already: decorate its function once, with all options; "
        f"a copy with other options is {task.name}.with_options(...)"
    )
