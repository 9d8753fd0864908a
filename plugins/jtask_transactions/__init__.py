"""The plugin for work that stands or is undone together: `transaction`, `once`, `on_rollback=`.

Each run that is called inside a transaction is a member of it. When the transaction is rolled back,
what its members have completed is undone by their own hooks, the last thing first.
"""

from collections.abc import Awaitable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from jtask.hooks import hookimpl
from jtask_transactions.options import HEADER, declared

if TYPE_CHECKING:
    import click

    from jtask.cache_policies import IsolationLevel
    from jtask.declaration import TaskInfo
    from jtask.lifecycle import AttemptEnd, PutOff, RollBack
    from jtask.options import Option
    from jtask.outcomes import Outcome
    from jtask.runtime import RunContext
    from jtask.settings import SettingsModel
    from jtask_transactions.blocks import TransactionBlock, get_transaction, transaction
    from jtask_transactions.stages import CommitMode, TransactionState
    from jtask_transactions.steps import once
    from jtask_transactions.tree import Transaction

__all__ = [
    "CommitMode",
    "IsolationLevel",
    "Transaction",
    "TransactionBlock",
    "TransactionState",
    "get_transaction",
    "once",
    "transaction",
]

# Imported when first used: every program with an option of any plugin loads this module. There is
# no `__dir__`, by which the names would be looked up when it is loaded.
_LAZY = {
    "CommitMode": "jtask_transactions.stages",
    "IsolationLevel": "jtask.cache_policies",
    "Transaction": "jtask_transactions.tree",
    "TransactionBlock": "jtask_transactions.blocks",
    "TransactionState": "jtask_transactions.stages",
    "get_transaction": "jtask_transactions.blocks",
    "once": "jtask_transactions.steps",
    "transaction": "jtask_transactions.blocks",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'jtask_transactions' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


@hookimpl
def jtask_options() -> "list[Option]":
    """Declare the options of `@task(...)`."""
    return declared()


@hookimpl
def jtask_settings() -> "type[SettingsModel]":
    """Declare how long is kept what was done."""
    from jtask_transactions.settings import TransactionSettings

    return TransactionSettings


@hookimpl
def jtask_headers() -> list[str]:
    """Know the direct calls that are made inside a transaction."""
    return [HEADER]


@hookimpl
def jtask_applies(task: "TaskInfo[..., object]") -> bool:
    """Apply to tasks with hooks."""
    return bool(task.options["on_commit"] or task.options["on_rollback"])


@hookimpl
def jtask_around(run: "RunContext") -> AbstractContextManager[None]:
    """Have the run's function be in a transaction of the run's own."""
    from jtask_transactions.members import around

    return around(run)


@hookimpl
def jtask_completed(
    run: "RunContext", outcome: "Outcome"
) -> "RollBack | PutOff | Awaitable[RollBack | PutOff | None] | None":
    """Commit the run's transaction, or leave that to the one around it."""
    from jtask_transactions.members import completed

    return completed(run, outcome)


@hookimpl
def jtask_attempt_over(run: "RunContext", end: "AttemptEnd") -> Awaitable[None] | None:
    """Undo what was done in an attempt that has not completed."""
    from jtask_transactions.members import attempt_over

    return attempt_over(run, end)


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask transactions`."""
    from jtask_transactions.command import transactions

    cli.add_command(transactions)
