"""Commit a transaction, or roll it back, with all that is in it."""

import contextlib
import logging
from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING

from jtask.errors import CommitFailed
from jtask.lifecycle import describe
from jtask.runtime import current_run, executing
from jtask_transactions.context import Outside, inside
from jtask_transactions.keys import let_go, write
from jtask_transactions.stages import TransactionState

if TYPE_CHECKING:
    from jtask_transactions.options import Hook
    from jtask_transactions.tree import Transaction
    from jtask_transactions.ways import Way

_log = logging.getLogger("jtask")


async def commit(txn: "Transaction", way: "Way") -> bool:
    """Commit what is in a transaction, call its hooks, and record it.

    Args:
        txn: The transaction.
        way: How to wait.

    Returns:
        bool: False if it has ended, or is ending, already.

    Raises:
        CommitFailed: A hook failed, or the record was not written; it was rolled back.
    """
    if not txn.begin_ending(TransactionState.COMMITTED):
        return False
    try:
        for child in txn.children:
            await commit(child, way)
        for hook in txn.commit_hooks:
            await _call(hook, txn, way)
        if txn.key is not None and txn.write_on_commit:
            await write(txn, way)
    except BaseException as error:
        txn.ending = TransactionState.ROLLED_BACK
        await _undo(txn, way, f"it could not be committed: {describe(error)}")
        if isinstance(error, CommitFailed) or not isinstance(error, Exception):
            raise
        raise CommitFailed(
            f"{txn.about} could not be committed and was rolled back: {describe(error)}"
        ) from error
    txn.enter(TransactionState.COMMITTED)
    await _end_run(txn, way, None)
    await let_go(txn, way)
    return True


async def roll_back(
    txn: "Transaction", way: "Way", why: str = "its transaction was rolled back"
) -> bool:
    """Undo what was done in a transaction, the last thing first.

    Args:
        txn: The transaction.
        way: How to wait.
        why: One sentence for the runs in it.

    Returns:
        bool: False if it has ended, or is ending, already: what is committed stands.
    """
    if not txn.begin_ending(TransactionState.ROLLED_BACK):
        return False
    await _undo(txn, way, why)
    return True


async def _undo(txn: "Transaction", way: "Way", why: str) -> None:
    interrupt: BaseException | None = None
    for hook in reversed(txn.rollback_hooks):
        try:
            await _call(hook, txn, way)
        except BaseException as error:
            _log.error(
                "the rollback hook %s of %s failed; the others are called all the same",
                _name(hook),
                txn.about,
                exc_info=error,
            )
            if not isinstance(error, Exception):
                interrupt = error
    txn.enter(TransactionState.ROLLED_BACK)
    for child in reversed(txn.children):
        try:
            await roll_back(child, way, why)
        except BaseException as error:
            interrupt = error
    await _end_run(txn, way, why)
    await let_go(txn, way)
    if interrupt is not None:
        raise interrupt


async def _end_run(txn: "Transaction", way: "Way", rolled_back: str | None) -> None:
    """Settle the run that a transaction belongs to, if that was put off."""
    if txn.put_off is None or txn.run is None:
        return
    ending = txn.put_off.settle(rolled_back)
    try:
        await way.carry_out(_awaited(ending), suspends=not txn.run.blocking)
    except Exception:
        _log.exception("the end of run %s is not recorded", txn.run.run_id)


async def _call(hook: "Hook", txn: "Transaction", way: "Way") -> None:
    with _as_its_run(txn), inside(Outside(current_run())):
        await way.call(hook, txn)


@contextlib.contextmanager
def _as_its_run(txn: "Transaction") -> Generator[None]:
    """Let a hook of a run ask `jtask.runtime`, as its task does."""
    if txn.run is None:
        yield
        return
    with executing(txn.run):
        yield


def _name(hook: "Hook") -> str:
    # A partial, or an object that can be called, has no name.
    return getattr(hook, "__name__", None) or repr(hook)


async def _awaited(ending: Awaitable[None]) -> None:
    await ending
