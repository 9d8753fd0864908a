"""Transactions around a block of code: `with transaction():`, `async with transaction():`."""

from types import TracebackType
from typing import Self

from jtask.cache_policies import IsolationLevel
from jtask.errors import ConfigurationError, TransactionError
from jtask.execution.sync_await import run_sync
from jtask.runtime import current_run
from jtask_transactions.context import Entered, enter, leave
from jtask_transactions.ending import commit, roll_back
from jtask_transactions.keys import begin
from jtask_transactions.members import enclosing, late_end
from jtask_transactions.options import HEADER
from jtask_transactions.stages import CommitMode, End, TransactionState, end_of
from jtask_transactions.tree import Transaction
from jtask_transactions.ways import AWAITING, BLOCKING, Way

_LONGEST_KEY = 2000  # characters


def transaction(
    key: str | None = None,
    *,
    commit_mode: CommitMode | str | None = None,
    isolation_level: IsolationLevel | str | None = None,
    overwrite: bool = False,
    write_on_commit: bool = True,
) -> "TransactionBlock":
    """Make a transaction of a block of code, with `with` or `async with`.

    What is done in it, and in tasks that it calls, stands or is undone together: if an exception
    leaves the block, the rollback hooks of all that was done are called, the last one first.

    Args:
        key: What the work is known by on all machines, so that it is done once; up to 2,000
            characters. Needs the broker.
        commit_mode: LAZY commits when the outermost transaction ends, EAGER when this block ends,
            OFF when `commit()` is called. Default: as the transaction around it; LAZY without one.
        isolation_level: READ_COMMITTED lets blocks with the same key execute at once, and the last
            record stands. With SERIALIZABLE one executes, and the others wait. Default: as the
            transaction around it; READ_COMMITTED without one.
        overwrite: Do the work although it is recorded, and replace the record.
        write_on_commit: False records nothing.

    Raises:
        TypeError: The key is no text.
        ValueError: An argument is not one of those named here.
    """
    if key is not None and not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"the key of a transaction is a text, not {key!r}")
    if key is not None and not 0 < len(key) <= _LONGEST_KEY:
        raise ValueError(
            f"the key of a transaction has 1 to {_LONGEST_KEY} characters, and this has {len(key)}"
        )
    return TransactionBlock(
        key,
        commit_mode=None if commit_mode is None else CommitMode(commit_mode),
        isolation_level=None if isolation_level is None else IsolationLevel(isolation_level),
        overwrite=overwrite,
        write_on_commit=write_on_commit,
    )


def get_transaction() -> Transaction | None:
    """Return the transaction that the code is in which calls this.

    In a task that is at least the run's own. Outside of tasks and blocks, and in hooks, it is None.
    """
    return enclosing()


class TransactionBlock(Transaction):
    """The transaction of a block of code; made by `transaction`, and entered once."""

    _entered: Entered | None = None

    def __enter__(self) -> Self:
        run_sync(self._begin(BLOCKING))
        self._entered = enter(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._step_out()
        run_sync(self._end(error, BLOCKING))

    async def __aenter__(self) -> Self:
        await self._begin(AWAITING)
        self._entered = enter(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._step_out()
        await self._end(error, AWAITING)

    async def _begin(self, way: Way) -> None:
        if not self.is_pending():
            raise TransactionError(f"{self.about} was entered before: make another one")
        _check_loaded()
        self.opened_in = current_run()
        self.begin_in(enclosing())
        await begin(self, way)

    def _step_out(self) -> None:
        if self._entered is not None:
            leave(self._entered)
            self._entered = None

    async def _end(self, error: BaseException | None, way: Way) -> None:
        if self.is_over:
            return
        if error is None and not self.is_staged():
            self.enter(TransactionState.STAGED)
        end = end_of(self.commit_mode, failed=error is not None, has_parent=self.parent is not None)
        if end is End.LEAVE and self.parent is not None:
            if self.parent.attach(self):
                return
            end = late_end(self.parent)
        if end is End.COMMIT:
            await commit(self, way)
        else:
            await roll_back(self, way)


def _check_loaded() -> None:
    from jtask.plugins import get_plugins

    if HEADER not in get_plugins().headers:
        raise ConfigurationError(
            "the plugin 'transactions' is not loaded, so tasks would not take part in "
            "transactions: name it in JTASK_PLUGINS"
        )
