"""The options of `@task(...)` that hold hooks, and the states each of them is for."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from jtask.options import Option, check_parameters
from jtask.states import StateName

Hook = Callable[[Any, Any, Any], object]

STATES = {
    # Retrying is running once more, and Cached has a value like Completed.
    "on_running": (StateName.RUNNING, StateName.RETRYING),
    "on_completion": (StateName.COMPLETED, StateName.CACHED),
    "on_failure": (StateName.FAILED, StateName.TIMED_OUT),
    "on_crashed": (StateName.CRASHED,),
    "on_cancellation": (StateName.CANCELLED,),
    "on_retry": (StateName.AWAITING_RETRY,),
}
"""For each option the states whose entry it is called at."""

_OPTIONS = {state: option for option, states in STATES.items() for state in states}


def declared() -> list[Option]:
    """Return the options, each with its check."""
    return [
        Option(
            name,
            check=partial(_hooks, name),
            help=f"Called when a run enters {' or '.join(states)}.",
        )
        for name, states in STATES.items()
    ]


def option_for(state: StateName) -> str | None:
    """Return the option whose hooks are called at a state; None when there is none."""
    return _OPTIONS.get(state)


def _hooks(option: str, value: object) -> tuple[Hook, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        kind = type(value).__name__
        hint = f": write {option}=[...]" if callable(value) else ""
        raise TypeError(f"must be a list of functions, got {value!r} of type {kind}{hint}")
    hooks = cast("Sequence[object]", value)
    for hook in hooks:
        if not callable(hook):
            raise TypeError(f"hook {hook!r} of type {type(hook).__name__} cannot be called")
        # At import: a wrong one would show only when a run fails at night.
        check_parameters(hook, "task", "run", "state")
    return tuple(cast("Sequence[Hook]", hooks))
