"""The options of `@task(...)` that hold hooks for a transaction's end."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from jtask.options import Option, check_parameters

if TYPE_CHECKING:
    from jtask_transactions.tree import Transaction

HEADER = "jtask-transaction"
"""What direct calls inside a transaction carry, so that the plugin is asked for them."""

Hook = Callable[["Transaction"], object]

_HELP = {
    "on_commit": "Called when the transaction commits that a run is part of.",
    "on_rollback": "Called to undo a run that has completed.",
}


def declared() -> list[Option]:
    """Return the options, each with its check."""
    return [Option(name, check=partial(_hooks, name), help=text) for name, text in _HELP.items()]


def checked_hooks(name: str, value: object) -> tuple[Hook, ...]:
    """Return hooks that can be called with a transaction.

    Args:
        name: What they were given as, for messages.
        value: What was given; None is none.

    Raises:
        TypeError: Not a list of functions.
        ValueError: A function that cannot be called so.
    """
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        kind = type(value).__name__
        hint = f": write {name}=[...]" if callable(value) else ""
        raise TypeError(f"must be a list of functions, got {value!r} of type {kind}{hint}")
    for hook in cast("Sequence[Any]", value):
        if not callable(hook):
            raise TypeError(f"hook {hook!r} of type {type(hook).__name__} cannot be called")
        # Where it is given: a wrong one would show only when something is to be undone.
        check_parameters(hook, "txn")
    return tuple(cast("Sequence[Hook]", value))


def _hooks(name: str, value: object) -> tuple[Hook, ...] | None:
    return None if value is None else checked_hooks(name, value)
