"""What people have begun, noted in the index: who, when, what it is about, and how far it is.

An operation on many runs has a row for each of them, which is there before anything is done. One
process at a time carries it out: the one whose claim was renewed last.
"""

import getpass
import secrets
import socket
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Engine, Executable, desc, func, select, update

from jtask.bulk_actions import BulkItem
from jtask.errors import JTaskError
from jtask_index.engines import translated
from jtask_index.schema import bulk_operation, bulk_operation_run
from jtask_index.statements import inserting, inserting_missing

CLAIM_SECONDS = 5.0
"""How long a process that has not renewed its claim is believed to live."""

_ADD_OPERATION = inserting(bulk_operation)
_ADD_RUNS = inserting_missing(bulk_operation_run)
_of = bulk_operation.c
_run = bulk_operation_run.c


class Operation(NamedTuple):
    """What somebody has begun.

    Attributes:
        operation_id: To resume it by.
        kind: What is done, such as `cancel runs`.
        who: `user@host`, or who was logged in to a web page.
        at: When, seconds since the epoch; likewise the other instants.
        filter: What it is about: of runs the query of a URL, or their ids.
        runs: How many were chosen, or how much was done.
        finished: When all was done; None before.
        arguments: JSON, which takes the place of a run's own arguments; empty where that stays.
        chosen: When all that it is about was noted; None before, and where it is no list.
        claim: Of the process that carries it out.
        claimed_until: Until when that one is believed to live; None when there is none.
    """

    operation_id: str
    kind: str
    who: str
    at: float
    filter: str
    runs: int = 0
    finished: float | None = None
    arguments: str = ""
    chosen: float | None = None
    claim: str = ""
    claimed_until: float | None = None

    @property
    def is_carried_out(self) -> bool:
        """Whether a process goes on with it now."""
        return self.claimed_until is not None and self.claimed_until > time.time()


class OperationLog:
    """The tables of what was begun; each call blocks, and may be made from any thread.

    Args:
        engine: Of the index.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(jtask_writes=True)

    def begin(self, operation: Operation, items: Iterable[tuple[str, str]] = ()) -> None:
        """Note an operation.

        Args:
            operation: It.
            items: The runs that it is about and the new ones that take their places, where they are
                known by now.
        """
        with translated(self._engine), self._engine.begin() as connection:
            _ADD_OPERATION.execute(connection, [operation])
            _ADD_RUNS.execute(connection, _rows(operation.operation_id, items))

    def add(self, operation_id: str, items: Iterable[tuple[str, str]]) -> None:
        """Note more runs that it is about; those that are noted stay as they are."""
        with translated(self._engine), self._engine.begin() as connection:
            _ADD_RUNS.execute(connection, _rows(operation_id, items))

    def close_choice(self, operation_id: str) -> int:
        """Note that all is chosen; returns how many runs that are."""
        count = sum(self.results(operation_id).values())
        self._change(operation_id, {"chosen": time.time(), "runs": count})
        return count

    def end(self, operation_id: str, runs: int | None = None) -> None:
        """Note that it has ended.

        Args:
            operation_id: Which.
            runs: How much was done, where that was not known before.
        """
        # Arguments of somebody's own may be secrets: they go when they have been used.
        ended: dict[str, Any] = {"finished": time.time(), "claimed_until": None, "arguments": ""}
        self._change(operation_id, ended if runs is None else ended | {"runs": runs})

    def claim(self, operation_id: str, claim: str) -> bool:
        """Become the one who carries an operation out, or stay it.

        Returns:
            bool: False when another one does, or when it has ended.
        """
        now = time.time()
        is_free = _of.claimed_until.is_(None) | (_of.claimed_until < now) | (_of.claim == claim)
        mine = {"claim": claim, "claimed_until": now + CLAIM_SECONDS}
        return self._change(operation_id, mine, is_free) == 1

    def release(self, operation_id: str, claim: str) -> None:
        """Leave an operation to whoever comes next."""
        self._change(operation_id, {"claimed_until": None}, _of.claim == claim)

    def find(self, operation_id: str) -> Operation:
        """Return an operation.

        Raises:
            JTaskError: There is none with this id.
        """
        found = self._operations(_all.where(_of.operation_id == operation_id))
        if not found:
            raise JTaskError(f"there is no operation {operation_id!r}: see `jtask runs operations`")
        return found[0]

    def newest(self, limit: int = 100) -> list[Operation]:
        """Return the last operations, newest first: who has done what."""
        return self._operations(_all.order_by(desc(_of.at)).limit(limit))

    def unfinished(self, kinds: Sequence[str]) -> list[Operation]:
        """Return what has begun of some kinds and has not ended, the oldest first."""
        query = _all.where(_of.finished.is_(None), _of.kind.in_(kinds))
        return self._operations(query.order_by(_of.at))

    def open_items(
        self, operation: Operation, limit: int, *, newest_first: bool = False
    ) -> list[BulkItem]:
        """Return runs that are not dealt with; none when all are."""
        of_it = (_run.operation_id == operation.operation_id, _run.result == "")
        order = desc(_run.run_id) if newest_first else _run.run_id
        query = select(_run.run_id, _run.new_run_id).where(*of_it).order_by(order).limit(limit)
        rows = self._fetch(query)
        return [BulkItem(one, new, operation.who, operation.arguments) for one, new in rows]

    def settle(self, operation_id: str, results: Mapping[str, str]) -> None:
        """Note what came of some runs, by their ids."""
        with translated(self._engine), self._engine.begin() as connection:
            for run_id, result in results.items():
                of_run = (_run.operation_id == operation_id, _run.run_id == run_id)
                settled = update(bulk_operation_run).where(*of_run).values(result=result)
                connection.execute(settled)

    def results(self, operation_id: str) -> Counter[str]:
        """Return how many of the runs of an operation came to what; an empty text is to be done."""
        query = select(_run.result, func.count()).group_by(_run.result)
        rows = self._fetch(query.where(_run.operation_id == operation_id))
        return Counter(dict(rows))

    def results_by_run(self, operation_id: str) -> dict[str, str]:
        """Return what came of each run of an operation, by its id."""
        query = select(_run.run_id, _run.result).where(_run.operation_id == operation_id)
        return dict(self._fetch(query))

    def _change(
        self, operation_id: str, values: Mapping[str, Any], *conditions: ColumnElement[bool]
    ) -> int:
        is_open = (_of.operation_id == operation_id, _of.finished.is_(None))
        change = update(bulk_operation).where(*is_open, *conditions).values(values)
        with translated(self._engine), self._engine.begin() as connection:
            return connection.execute(change).rowcount

    def _operations(self, query: Executable) -> list[Operation]:
        return [Operation._make(row) for row in self._fetch(query)]

    def _fetch(self, query: Executable) -> list[Any]:
        reading = self._engine.execution_options(jtask_writes=False)
        with translated(reading), reading.connect() as connection:
            return list(connection.execute(query))


_all: Any = select(*(_of[field] for field in Operation._fields))


def new_operation(kind: str, about: str, who: str) -> Operation:
    """Return an operation that begins now; nothing is noted yet.

    Args:
        kind: What is done.
        about: To what.
        who: On whose behalf.
    """
    return Operation(secrets.token_hex(6), kind, who, time.time(), about)


def whoami() -> str:
    """Return who this process works for: `user@host`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in many containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _rows(operation_id: str, items: Iterable[tuple[str, str]]) -> list[tuple[str, str, str, str]]:
    return [(operation_id, run_id, new_run_id, "") for run_id, new_run_id in items]
