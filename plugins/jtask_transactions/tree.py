"""A transaction: what it knows, what is around it and in it, and what its user may ask of it."""

import copy
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from jtask.cache_policies import IsolationLevel
from jtask.errors import TransactionValueNotFound
from jtask.execution.sync_await import run_sync
from jtask_transactions.ending import commit, roll_back
from jtask_transactions.keys import encoded, read
from jtask_transactions.options import Hook, checked_hooks
from jtask_transactions.stages import OVER, CommitMode, TransactionState, check_move
from jtask_transactions.ways import AWAITING, BLOCKING

if TYPE_CHECKING:
    from jtask.declaration.definition import SerializerName
    from jtask.lifecycle import PutOff
    from jtask.runtime import RunContext
    from jtask_transactions.locks import KeyLock
    from jtask_transactions.records import Entry

NOT_SET: Final[Any] = object()


class Transaction:
    """What is committed or rolled back together; made by `transaction(...)`.

    A run that is part of one has a transaction of its own in it.

    Args:
        key: What its work is known by, on all machines; None for work that is not known.
        commit_mode: When it commits; None is as the one around it does, and LAZY without one.
        isolation_level: What happens when others with the same key come at the same time; None is
            as for the one around it, and READ_COMMITTED without one.
        overwrite: Whether to do the work although it is recorded.
        write_on_commit: Whether to record it.

    Attributes:
        state: Where it stands.
        parent: The one around it; known once it has begun.
        children: What was done in it and waits for its end, in that order.
        commit_hooks: Called when it commits.
        rollback_hooks: Called, the last one first, when it is rolled back.
        opened_in: The run in which it was opened; None outside of runs.
        run: The run that it is the transaction of; None for a block.
        put_off: Ends that run; None while that is not to be decided here.
        ending: How it ends, from when that begins.
        entry: What is recorded of it, as far as that is known.
        payload: What is to be recorded of it; None where nothing was staged.
        lock: The lock of its key; None where it has none.
        locks: Those that the outermost transaction and all in it have, by key.
        inline_limit: The largest body of a message to the broker, in bytes.
        serializer: How its value is recorded.
    """

    def __init__(
        self,
        key: str | None = None,
        *,
        commit_mode: CommitMode | None = None,
        isolation_level: IsolationLevel | None = None,
        overwrite: bool = False,
        write_on_commit: bool = True,
    ) -> None:
        self.key = key
        self.overwrite = overwrite
        self.write_on_commit = write_on_commit
        self.state = TransactionState.PENDING
        self.parent: Transaction | None = None
        self.children: list[Transaction] = []
        self.commit_hooks: list[Hook] = []
        self.rollback_hooks: list[Hook] = []
        self.opened_in: RunContext | None = None
        self.run: RunContext | None = None
        self.put_off: PutOff | None = None
        self.ending: TransactionState | None = None
        self.entry: Entry | None = None
        self.payload: bytes | None = None
        self.lock: KeyLock | None = None
        self.locks: dict[str, KeyLock] = {}
        self.inline_limit = 0
        self.serializer: SerializerName = "json"
        self._commit_mode = commit_mode
        self._isolation_level = isolation_level
        self._staged: Any = None
        self._values: dict[str, Any] = {}
        # Members may end in several threads.
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<{self.about} {self.state}>"

    @property
    def about(self) -> str:
        """What it is, for messages."""
        if self.run is not None:
            return f"the transaction of run {self.run.run_id} of task {self.run.task_name!r}"
        return "a transaction" if self.key is None else f"transaction {self.key!r}"

    @property
    def commit_mode(self) -> CommitMode:
        """When it commits."""
        if self._commit_mode is not None:
            return self._commit_mode
        return CommitMode.LAZY if self.parent is None else self.parent.commit_mode

    @property
    def isolation_level(self) -> IsolationLevel:
        """What happens when others with the same key come at the same time."""
        if self._isolation_level is not None:
            return self._isolation_level
        parent = self.parent
        return IsolationLevel.READ_COMMITTED if parent is None else parent.isolation_level

    # --- what its user may ask of it -------------------------------------------------------

    def is_pending(self) -> bool:
        """Tell whether it has not begun."""
        return self.state is TransactionState.PENDING

    def is_active(self) -> bool:
        """Tell whether its work is being done."""
        return self.state is TransactionState.ACTIVE

    def is_staged(self) -> bool:
        """Tell whether its work is done and waits to be committed."""
        return self.state is TransactionState.STAGED

    def is_committed(self) -> bool:
        """Tell whether its work stands; at once, where it is recorded under the key."""
        return self.state is TransactionState.COMMITTED

    def is_rolled_back(self) -> bool:
        """Tell whether its work was undone."""
        return self.state is TransactionState.ROLLED_BACK

    def set(self, name: str, value: Any) -> None:
        """Keep a copy of a value for hooks and for what is in the transaction.

        Args:
            name: Its name.
            value: What can be copied; it stays in this process.

        Raises:
            TypeError: It cannot be copied.
        """
        try:
            self._values[name] = copy.deepcopy(value)
        except Exception as error:
            raise TypeError(
                f"the value {name!r} of a transaction cannot be copied ({error}): "
                "set what it is made of"
            ) from error

    def get(self, name: str, default: Any = NOT_SET) -> Any:
        """Return a copy of a value that was set here, or in a transaction around this one.

        Args:
            name: Its name.
            default: What to return where there is none.

        Raises:
            TransactionValueNotFound: There is none, and no default.
        """
        found: Transaction | None = self
        while found is not None:
            if name in found._values:
                return copy.deepcopy(found._values[name])
            found = found.parent
        if default is not NOT_SET:
            return default
        raise TransactionValueNotFound(
            f"{self.about} has no value {name!r}: set it with txn.set({name!r}, ...), or give a "
            f"default"
        )

    def stage(
        self,
        value: Any,
        on_rollback_hooks: Sequence[Hook] | None = None,
        on_commit_hooks: Sequence[Hook] | None = None,
    ) -> None:
        """Say that the work is done, what came of it, and what commits and undoes it.

        Nothing happens if it is committed already.

        Args:
            value: What is recorded under the key.
            on_rollback_hooks: Called with the transaction to undo the work.
            on_commit_hooks: Called with it before it is recorded.

        Raises:
            TransactionError: It has not begun, or was rolled back.
            ResultError: There is a key, and the value cannot be recorded.
        """
        if self.is_committed():
            return
        rollback = checked_hooks("on_rollback_hooks", on_rollback_hooks)
        commit_hooks = checked_hooks("on_commit_hooks", on_commit_hooks)
        check_move(self.state, TransactionState.STAGED)
        if self.key is not None:
            self.payload = encoded(self, value)
        self.finish(value, rollback, commit_hooks)

    @property
    def staged_value(self) -> Any:
        """What was staged; None before."""
        return self._staged

    def read(self) -> Any:
        """Return the value that is recorded under the key; None where there is none.

        Raises:
            SerializationError: It cannot be read here.
            BrokerError: The broker does not answer.
        """
        return run_sync(read(self, BLOCKING))

    async def aread(self) -> Any:
        """Do what `read` does without blocking the event loop."""
        return await read(self, AWAITING)

    def commit(self) -> bool:
        """Commit now, with all that is in it; False if it has ended.

        Raises:
            CommitFailed: It was rolled back instead.
        """
        return bool(run_sync(commit(self, BLOCKING)))

    async def acommit(self) -> bool:
        """Do what `commit` does, with asynchronous hooks on this event loop."""
        return await commit(self, AWAITING)

    def rollback(self) -> bool:
        """Undo what was done in it; False if it has ended."""
        return bool(run_sync(roll_back(self, BLOCKING)))

    async def arollback(self) -> bool:
        """Do what `rollback` does, with asynchronous hooks on this event loop."""
        return await roll_back(self, AWAITING)

    # --- for the plugin itself -------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether nothing can be done in it any more."""
        return self.state in OVER

    def begin_in(self, parent: "Transaction | None") -> None:
        """Take what is around it."""
        self.parent = parent
        if parent is not None:
            self.locks = parent.locks

    def finish(self, value: Any, rollback: Sequence[Hook], commit: Sequence[Hook]) -> None:
        """Do what `stage` does, with hooks that are known to be fit."""
        self._staged = value
        self.rollback_hooks += rollback
        self.commit_hooks += commit
        self.enter(TransactionState.STAGED)

    def enter(self, state: TransactionState) -> None:
        """Enter a state; the one place where it changes.

        Raises:
            TransactionError: It cannot.
        """
        check_move(self.state, state)
        self.state = state

    def attach(self, child: "Transaction") -> bool:
        """Take on what was done in it; False once it ends. From any thread."""
        with self._lock:
            if self.ending is None:
                self.children.append(child)
            return self.ending is None

    def begin_ending(self, how: TransactionState) -> bool:
        """Take on nothing any more; False if somebody else ends it. From any thread."""
        with self._lock:
            if self.ending is not None:
                return False
            self.ending = how
            return True
