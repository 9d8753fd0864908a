"""The stages of a transaction, and what follows where one ends: decisions only."""

from collections.abc import Mapping
from enum import StrEnum

from jtask.errors import TransactionError


class TransactionState(StrEnum):
    """Where a transaction stands."""

    PENDING = "PENDING"
    """It has not begun."""
    ACTIVE = "ACTIVE"
    """Its work is being done."""
    STAGED = "STAGED"
    """Its work is done, and waits to be committed."""
    COMMITTED = "COMMITTED"
    """Its work stands."""
    ROLLED_BACK = "ROLLED_BACK"
    """Its work was undone."""


class CommitMode(StrEnum):
    """When a transaction commits whose work is done."""

    EAGER = "EAGER"
    """At once."""
    LAZY = "LAZY"
    """When the outermost one around it ends."""
    OFF = "OFF"
    """When its `commit` is called; without that the outermost one is rolled back where it ends."""

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"there is no commit mode {value!r}: use {' or '.join(cls)}")


class End(StrEnum):
    """What happens to a transaction whose work is over."""

    COMMIT = "commit"
    ROLL_BACK = "roll back"
    LEAVE = "leave"
    """The one around it decides."""


MOVES: Mapping[TransactionState, frozenset[TransactionState]] = {
    TransactionState.PENDING: frozenset({TransactionState.ACTIVE, TransactionState.COMMITTED}),
    TransactionState.ACTIVE: frozenset(
        {TransactionState.STAGED, TransactionState.COMMITTED, TransactionState.ROLLED_BACK}
    ),
    TransactionState.STAGED: frozenset(
        {TransactionState.STAGED, TransactionState.COMMITTED, TransactionState.ROLLED_BACK}
    ),
    TransactionState.COMMITTED: frozenset(),
    TransactionState.ROLLED_BACK: frozenset(),
}
"""From each state, those that may follow."""

OVER = frozenset(state for state in TransactionState if not MOVES[state])
"""The states in which nothing can be done any more."""


def check_move(current: TransactionState, new: TransactionState) -> None:
    """Check one move against the table.

    Raises:
        TransactionError: The table does not allow it.
    """
    if new not in MOVES[current]:
        raise TransactionError(f"a transaction cannot move from {current} to {new}")


def end_of(mode: CommitMode, *, failed: bool, has_parent: bool) -> End:
    """Decide what happens to a transaction whose work is over.

    Args:
        mode: When it commits.
        failed: Whether an exception has ended its work.
        has_parent: Whether there is one around it.
    """
    if failed:
        return End.ROLL_BACK
    if mode is CommitMode.EAGER:
        return End.COMMIT
    if has_parent:
        return End.LEAVE
    return End.ROLL_BACK if mode is CommitMode.OFF else End.COMMIT
