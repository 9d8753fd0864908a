"""The plugin that calls functions of the user's when a run enters a state, such as `on_failure=`.

A hook is called with the task, the run and the state, after the run entered it. What a hook does,
raises or returns changes nothing about the run, nor about the other hooks.
"""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, cast

from jtask.hooks import hookimpl
from jtask_state_hooks.options import declared, option_for

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo
    from jtask.options import Option
    from jtask.runtime import RunContext
    from jtask.states import State
    from jtask_state_hooks.options import Hook


@hookimpl
def jtask_options() -> "list[Option]":
    """Declare what `@task(...)` takes."""
    return declared()


@hookimpl
def jtask_applies(task: "TaskInfo[..., object]") -> bool:
    """Leave tasks alone that have no hooks."""
    return any(task.options.get(option.name) for option in declared())


@hookimpl(trylast=True)
def jtask_state(run: "RunContext", state: "State") -> Awaitable[None] | None:
    """Call the task's hooks of this state, after the plugins' own."""
    name = option_for(state.name)
    hooks = None if name is None else run.task.options[name]
    if name is None or not hooks:
        return None
    from jtask_state_hooks.calling import call_hooks

    return call_hooks(name, cast("tuple[Hook, ...]", hooks), run, state)
