"""Handles that a flow returns: it ends as the runs do that they stand for."""

from collections.abc import Collection
from typing import Any, cast

from jtask.futures import Future
from jtask.runtime import RunContext
from jtask.states import State

_SEVERAL = (list, tuple, set, frozenset)


async def states_of_futures(run: RunContext, value: Any) -> Any:
    """Return what a flow returned, with handles replaced by the final states of their runs.

    Args:
        run: The flow's run, which waits for those that are not over.
        value: What its function returned. Handles are looked for there, and in a list, tuple or set
            that holds nothing but handles and states.
    """
    if isinstance(value, Future):
        return await _final_state(run, cast("Any", value))
    if not isinstance(value, _SEVERAL):
        return value
    parts = cast("Collection[Any]", value)
    if not all(isinstance(part, Future | State) for part in parts):
        return cast("Any", value)
    return [
        await _final_state(run, cast("Any", part)) if isinstance(part, Future) else part
        for part in parts
    ]


async def _final_state(run: RunContext, future: Future[Any]) -> State:
    if run.blocking:
        future.wait()
        return future.state
    await future.wait_async()
    return await future.state_async()
