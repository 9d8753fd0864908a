"""Put values, or states, in the place of the handles inside of something."""

from typing import Any

from jtask.futures.future import Future
from jtask.nested_values import replace_nested


def resolve_futures_to_results(value: Any) -> Any:
    """Return a value in which handles, however deep inside, are replaced by their runs' values.

    Args:
        value: What holds them; they are waited for. See `jtask.nested_values.replace_nested`.

    Raises:
        Exception: What a run raised that is not in `allow_failure(...)`.
    """
    return replace_nested(value, Future, lambda one, ok: one.result(raise_on_failure=not ok))


def resolve_futures_to_states(value: Any) -> Any:
    """Return a value in which handles, however deep inside, are replaced by their final states.

    Args:
        value: What holds them; they are waited for.
    """

    def final_state(one: Any, _: bool) -> Any:
        one.wait()
        return one.state

    return replace_nested(value, Future, final_state)
