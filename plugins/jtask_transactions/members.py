"""Runs as members of transactions: each has one of its own, in the one that it was called in.

A run whose task has hooks, or that is called inside a transaction, has it from the start. Any other
gets one when something that it does needs it; until then transactions cost it nothing.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from jtask.errors import CommitFailed
from jtask.execution import on_this_loop
from jtask.execution.sync_await import run_sync
from jtask.lifecycle import AttemptEnd, PutOff, RollBack
from jtask.runtime import current_run
from jtask_transactions.context import Outside, in_context, inside
from jtask_transactions.ending import commit, roll_back
from jtask_transactions.options import HEADER
from jtask_transactions.stages import End, TransactionState, end_of
from jtask_transactions.tree import Transaction
from jtask_transactions.ways import AWAITING, BLOCKING

if TYPE_CHECKING:
    from jtask.outcomes import Outcome
    from jtask.runtime import RunContext
    from jtask_transactions.options import Hook
    from jtask_transactions.ways import Way

_NOTE = "jtask_transactions"
_UNDONE = "its transaction had been rolled back"
_log = logging.getLogger("jtask")
Verdict = RollBack | PutOff | None


class Member(Transaction):
    """The transaction of a run.

    Args:
        run: The run.
        parent: The one that the run was called in.

    Attributes:
        is_member: Whether the run itself is rolled back with it, and not only what is in it.
        is_concluded: Whether the run has completed, and its end is decided or left to the parent.
    """

    def __init__(self, run: "RunContext", parent: Transaction | None) -> None:
        super().__init__()
        self.run = self.opened_in = run
        self.is_member = HEADER in run.headers or any(_hooks_of(run))
        self.is_concluded = False
        self.begin_in(parent)
        self.enter(TransactionState.ACTIVE)


def enclosing() -> Transaction | None:
    """Return the transaction that the code is in which executes here; None if it is in none."""
    return _of(in_context(), current_run())


@contextlib.contextmanager
def around(run: "RunContext") -> Generator[None]:
    """Have what a run's function does be in the run's transaction."""
    run.notes[_NOTE] = txn = Member(run, _around_run(in_context(), run))
    with inside(txn):
        yield


def completed(
    run: "RunContext", outcome: "Outcome"
) -> "RollBack | PutOff | Awaitable[Verdict] | None":
    """Commit the work of a run that has completed, or leave that to the transaction around it."""
    txn: Member | None = run.notes.get(_NOTE)
    if txn is None:
        return None
    txn.is_concluded = True
    end: End | None = None
    if txn.is_over:
        # By hand, from inside of the run: what is left of it ends in the same way.
        end, txn = late_end(txn), Member(run, None)
    txn.finish(outcome.value, *_hooks_of(run))
    if run.blocking:
        verdict: Verdict = run_sync(_conclude(txn, end, BLOCKING))
        return verdict
    return on_this_loop(_conclude(txn, end, AWAITING))


def attempt_over(run: "RunContext", end: AttemptEnd) -> Awaitable[None] | None:
    """Undo what was done in an attempt that has not completed."""
    txn: Member | None = run.notes.get(_NOTE)
    if txn is None or txn.is_concluded or txn.is_over:
        return None
    if not run.blocking:
        return on_this_loop(_give_up(txn, AWAITING))
    if end is AttemptEnd.HANDED_BACK:
        # It may be told on the loop of the hooks, which must not be blocked.
        return asyncio.to_thread(run_sync, _give_up(txn, BLOCKING))
    run_sync(_give_up(txn, BLOCKING))
    return None


def _around_run(found: Transaction | Outside | None, run: "RunContext") -> Transaction | None:
    """Return what a run was called in; those of workers and task runners were called in nothing."""
    if run.queue is not None or run.is_submitted:
        return None
    return _of(found, run.caller)


def _of(found: Transaction | Outside | None, run: "RunContext | None") -> Transaction | None:
    """Return the transaction that code of a run is in.

    Args:
        found: What was entered last in the context; perhaps before the run began.
        run: The run; None for code outside of runs.
    """
    opened_here = found is not None and found.opened_in is run
    if run is None or opened_here:
        return found if opened_here and isinstance(found, Transaction) else None
    if run.is_copy:
        # Its end is another process's: a block in it stands for itself.
        return None
    own: Member | None = run.notes.get(_NOTE)
    if own is None:
        # At once, for the run's function may have several threads.
        own = run.notes.setdefault(_NOTE, Member(run, _around_run(found, run)))
        run.concern(HEADER)
    return own


async def _conclude(txn: Member, end: End | None, way: "Way") -> Verdict:
    """End a run's transaction that is staged.

    Args:
        txn: The transaction.
        end: How; None where that is still to be decided.
        way: How to wait.
    """
    if end is None:
        end = end_of(txn.commit_mode, failed=False, has_parent=txn.parent is not None)
    if end is not End.LEAVE or txn.parent is None:
        return await _end(txn, end, way)
    if txn.is_member:
        txn.put_off = PutOff(partial(_leave_to, txn.parent, txn, way))
        return txn.put_off
    return await _leave_to(txn.parent, txn, way)


async def _leave_to(parent: Transaction, txn: Member, way: "Way") -> Verdict:
    """Leave a run to the transaction around it; one that has ended decides at once."""
    return None if parent.attach(txn) else await _end(txn, late_end(parent), way)


async def _end(txn: Member, end: End, way: "Way") -> Verdict:
    if end is End.ROLL_BACK:
        await roll_back(txn, way)
        return RollBack(_UNDONE)
    try:
        await commit(txn, way)
    except CommitFailed as error:
        _log.error("%s", error, exc_info=error.__cause__)
        return RollBack(str(error))
    return None


def late_end(parent: Transaction) -> End:
    """Return how something ends whose transaction had ended before it."""
    return End.COMMIT if parent.ending is TransactionState.COMMITTED else End.ROLL_BACK


def _hooks_of(run: "RunContext") -> "tuple[Sequence[Hook], Sequence[Hook]]":
    """Return the hooks of a run's task for a rollback, and for a commit."""
    options: dict[str, Any] = run.task.options
    return options["on_rollback"] or (), options["on_commit"] or ()


async def _give_up(txn: Member, way: "Way") -> None:
    await roll_back(txn, way, "the run that it was called in did not complete")
