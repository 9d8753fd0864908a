"""Options that one run has of its own, carried by its message: `.with_options(...).delay()`."""

import json
from collections.abc import Mapping
from typing import Any

from jtask.declaration.definition import Definition
from jtask.declaration.kept_facts import kept_in_task
from jtask.declaration.task_info import TaskInfo
from jtask.errors import TaskDefinitionError
from jtask.options import Option, check_options
from jtask.plugins import get_plugins, hooks_of

_MOST_VARIANTS = 100  # of one task, each with hooks of its own
_LONGEST = 10_000  # characters of what a message carries
_NAME = "name"


@kept_in_task
def carried_options(task: TaskInfo[..., Any]) -> dict[str, object]:
    """Return what the runs of a task have to carry; nearly always nothing.

    Args:
        task: The task, or a copy with other options.

    Raises:
        TaskDefinitionError: An option of the copy cannot travel to a worker.
    """
    return _carried(task) if task.overrides else {}


def with_carried(task: TaskInfo[..., Any], carried: Mapping[str, object]) -> TaskInfo[..., Any]:
    """Return a task with the options that a run carries.

    Args:
        task: The task, as it is declared here.
        carried: What the run's message says.

    Raises:
        TaskDefinitionError: No option of that name is known here, or it cannot travel, or has a
            value that is not acceptable.
    """
    text = json.dumps(carried, sort_keys=True)
    if len(text) > _LONGEST:
        raise TaskDefinitionError(f"the run carries options of {len(text)} characters")
    variants = _variants(task)
    variant = variants.get(text)
    if variant is None:
        variant = _variant(task, dict(carried))
        if len(variants) >= _MOST_VARIANTS:
            variants.clear()
        variants[text] = variant
    return variant


@kept_in_task
def _variants(task: TaskInfo[..., Any]) -> dict[str, TaskInfo[..., Any]]:
    del task
    return {}  # filled by `with_carried`, by what runs carry


def _variant(task: TaskInfo[..., Any], carried: dict[str, object]) -> TaskInfo[..., Any]:
    hooks_of(task)  # gives the task the defaults of its options
    name: Any = carried.pop(_NAME, None)
    declared = get_plugins().options
    for option in carried:
        if option in declared and not declared[option].travels:
            raise _cannot_travel(task, option)
    checked = check_options({**_given(task), **carried}, declared, task.name, task.fn)
    definition: Definition = task.definition.with_options(carried, name=name, key=task.key)
    return task.copied(definition, {**task.options, **checked}, {})


def _given(task: TaskInfo[..., Any]) -> Mapping[str, object]:
    # Options may have to agree with each other.
    return {name: value for name, value in task.options.items() if name in task.definition.options}


def _carried(task: TaskInfo[..., Any]) -> dict[str, object]:
    declared = get_plugins().options
    known = _known_to_workers(task)
    carried: dict[str, object] = {}
    for option, value in task.overrides.items():
        if option != _NAME and _need_not_travel(declared[option], known, value):
            continue
        if option != _NAME and not (declared[option].travels and _is_json(value)):
            raise _cannot_travel(task, option)
        carried[option] = value
    return carried


def _need_not_travel(option: Option, known: Mapping[str, object], value: object) -> bool:
    return option.for_caller or (option.name in known and known[option.name] == value)


def _known_to_workers(task: TaskInfo[..., Any]) -> Mapping[str, object]:
    first = task
    while first.original is not None:
        first = first.original
    hooks_of(first)
    return first.options


def _is_json(value: object) -> bool:
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False


def _cannot_travel(task: TaskInfo[..., Any], option: str) -> TaskDefinitionError:
    return TaskDefinitionError(
        f"task {task.name!r}: a run cannot carry the option {option!r} to a worker, which uses the "
        f"one of its own task: give it to @task(...)"
    )
