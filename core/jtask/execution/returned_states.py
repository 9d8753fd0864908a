"""What a task says of its run's end by returning a state, or several: decisions only."""

import time
from collections.abc import Collection
from typing import Any, cast

from jtask.states import ERROR_OF, FINAL, SUCCESSFUL, TRANSITIONS, State, StateName
from jtask.wire.fields import json_line

_ENDS = FINAL & TRANSITIONS[StateName.RUNNING]
_SEVERAL = (list, tuple)


def state_returned(value: Any) -> State | None:
    """Return the state that a run ends in because its function returned it.

    Args:
        value: What the function returned.

    Returns:
        State | None: That state, or the one that several states come to; None for any other value.

    Raises:
        TypeError: The state has what could not be stored.
    """
    if isinstance(value, State):
        _check(value)
        return value
    if isinstance(value, _SEVERAL):
        states = cast("Collection[Any]", value)
        if states and all(isinstance(one, State) for one in states):
            return _together(list(states))
    return None


def value_of(state: State) -> Any:
    """Return the value of a state that a function returned, or raise what the run ends with.

    Raises:
        ValueError: A run cannot end in this state.
        BaseException: The exception that the state came with, or the one that belongs to it.
    """
    if state.name not in _ENDS:
        raise ValueError(
            f"the task returned the state {state.name}, in which no run ends: "
            f"return one of {', '.join(sorted(_ENDS))}"
        )
    # Of a handle, whose value or exception is got when it is asked for.
    if state.is_completed() or state.load is not None:
        return state.result()
    if isinstance(state.data, BaseException):
        raise state.data
    raise ERROR_OF[state.name](state.message or f"the task returned the state {state.label}")


def failure_returned(state: State | None) -> State | None:
    """Return a state that a function returned if the run ends in it with an exception."""
    return state if state is not None and state.name in _ENDS - SUCCESSFUL else None


def _check(state: State) -> None:
    # By hand, for it is made by hand: stored as it is, nobody could read how the run ended.
    message: Any = state.message
    if not isinstance(message, str):
        raise TypeError(f"the message of a returned state is a text, got {message!r:.100}")
    if state.details:
        try:
            json_line({**state.details})
        except (TypeError, ValueError) as error:
            raise TypeError(f"the details of a returned state are JSON: {error!s:.200}") from None
    is_failure = not state.is_completed() and state.load is None
    if is_failure and not isinstance(state.data, BaseException | None):
        raise TypeError(
            f"a returned state {state.name} comes with an exception as its data, "
            f"got {state.data!r:.100}: give a text as the message"
        )


def _together(states: list[State]) -> State:
    """Return what several states come to: completed if all are, else how many are not."""
    cancelled = sum(state.is_cancelled() for state in states)
    failed = sum(state.is_final() and not state.is_completed() for state in states)
    unfinished = sum(not state.is_final() for state in states)
    name = StateName.CANCELLED if cancelled else StateName.FAILED
    if cancelled:
        message = f"{cancelled}/{len(states)} states cancelled."
    elif failed:
        message = f"{failed}/{len(states)} states failed."
    elif unfinished:
        message = f"{unfinished}/{len(states)} states are not final."
    else:
        values = [state.result() for state in states]
        return State(StateName.COMPLETED, time.time(), "All states completed.", data=values)
    return State(name, time.time(), message)
