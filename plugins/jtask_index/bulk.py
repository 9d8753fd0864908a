"""Cancel or rerun all runs that a filter means: chosen first, then done one by one.

What is chosen is written down before anything is done, with who wants it. An operation that was
interrupted is resumed: what is done is not done again.
"""

import asyncio
import getpass
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import desc, func, select, update

from jtask.errors import IndexUnavailable, JTaskError
from jtask.run_filters import RunFilter
from jtask.run_summaries import RunSummary
from jtask.states import FINAL
from jtask_index.engines import translated
from jtask_index.reader import IndexReader
from jtask_index.rerunning import rerun
from jtask_index.schema import bulk_operation, bulk_operation_run
from jtask_index.statements import inserting

if TYPE_CHECKING:
    from jtask.client import Client

CANCEL = "cancel"
RERUN = "rerun"

_PAGE = 1000
_AT_ONCE = 32  # runs; what was done of these and not yet noted is looked at again when resumed
_ADD_RUNS = inserting(bulk_operation_run)


class Operation(NamedTuple):
    """What somebody has begun.

    Attributes:
        operation_id: To resume it by.
        kind: CANCEL or RERUN.
        who: `user@host`, or who was logged in to a web page.
        at: When, seconds since the epoch.
        filter: Which runs were meant, as the query of a URL.
        runs: How many were chosen.
        finished: When all were done, seconds since the epoch; None before.
    """

    operation_id: str
    kind: str
    who: str
    at: float
    filter: str
    runs: int
    finished: float | None


class BulkOperations:
    """Begin, carry out and list operations; each call blocks.

    Args:
        reader: Of the index, in which they are noted.
        client: Carries them out.
    """

    def __init__(self, reader: IndexReader, client: "Client") -> None:
        self._reader = reader
        self._client = client
        self._engine = reader.engine.execution_options(jtask_writes=True)

    def count(self, kind: str, wanted: RunFilter) -> int:
        """Return how many runs an operation would be about."""
        return sum(len(page) for page in self._chosen(kind, wanted))

    def begin(self, kind: str, wanted: RunFilter, who: str | None = None) -> Operation:
        """Choose the runs and note them; nothing is done to them yet.

        Args:
            kind: CANCEL, of runs that are not over, or RERUN, of those that are.
            wanted: Which.
            who: On whose behalf; None is the user of this process.
        """
        # From now on: a filter such as `since=2h` must mean the same runs while they are chosen.
        wanted = wanted.fixed()
        operation_id, now = secrets.token_hex(6), time.time()
        count = 0
        with translated(self._engine), self._engine.begin() as connection:
            for page in self._chosen(kind, wanted):
                new_ids = self._client.ids.new_many(len(page)) if kind == RERUN else [""] * _PAGE
                rows = [
                    (operation_id, run.run_id, new_id, "")
                    for run, new_id in zip(page, new_ids, strict=False)
                ]
                _ADD_RUNS.execute(connection, rows)
                count += len(page)
            operation = Operation(
                operation_id, kind, who or whoami(), now, wanted.to_query(), count, None
            )
            connection.execute(bulk_operation.insert(), operation._asdict())
        return operation

    def find(self, operation_id: str) -> Operation:
        """Return an operation.

        Raises:
            JTaskError: There is none with this id.
        """
        columns = [bulk_operation.c[field] for field in Operation._fields]
        query = select(*columns).where(bulk_operation.c.operation_id == operation_id)
        rows = self._reader.fetch(query)
        if not rows:
            raise JTaskError(f"there is no operation {operation_id!r}: see `jtask runs operations`")
        return Operation._make(rows[0])

    def newest(self, limit: int = 100) -> list[Operation]:
        """Return the last operations, newest first: who has done what."""
        columns = [bulk_operation.c[field] for field in Operation._fields]
        query = select(*columns).order_by(desc(bulk_operation.c.at)).limit(limit)
        return [Operation._make(row) for row in self._reader.fetch(query)]

    def results(self, operation_id: str) -> Counter[str]:
        """Return how many of the runs of an operation came to what; an empty text is to be done."""
        columns = bulk_operation_run.c
        query = select(columns.result, func.count()).group_by(columns.result)
        rows = self._reader.fetch(query.where(columns.operation_id == operation_id))
        return Counter(dict(rows))

    def carry_out(
        self, operation: Operation, on_progress: Callable[[int], None] | None = None
    ) -> Counter[str]:
        """Do what is not done of an operation.

        Args:
            operation: Begun just now, or before by a process that ended in the middle.
            on_progress: Called with how many more are done, again and again.

        Returns:
            Counter: How many of all its runs came to what.

        Raises:
            BrokerError: The broker cannot be reached; resume it later.
            IndexUnavailable: The database cannot be reached; likewise.
        """
        while rows := self._to_do(operation.operation_id):
            results = self._client.io.run(self._do(operation.kind, rows))
            self._note(operation.operation_id, results)
            if on_progress is not None:
                on_progress(len(rows))
        with translated(self._engine), self._engine.begin() as connection:
            is_open = bulk_operation.c.finished.is_(None)
            of_it = bulk_operation.c.operation_id == operation.operation_id
            finished = update(bulk_operation).where(of_it, is_open).values(finished=time.time())
            connection.execute(finished)
        return self.results(operation.operation_id)

    def _chosen(self, kind: str, wanted: RunFilter) -> Iterator[list[RunSummary]]:
        after: str | None = None
        while True:
            page = self._reader.runs(wanted, after=after, limit=_PAGE)
            # What is over cannot be cancelled; to rerun what is not would execute it twice.
            chosen = [run for run in page.runs if (run.state in FINAL) is (kind == RERUN)]
            if chosen:
                yield chosen
            if page.after is None:
                return
            after = page.after

    def _to_do(self, operation_id: str) -> list[tuple[str, str]]:
        columns = bulk_operation_run.c
        query = (
            select(columns.run_id, columns.new_run_id)
            .where(columns.operation_id == operation_id, columns.result == "")
            # The oldest first, as they were called.
            .order_by(columns.run_id)
            .limit(_AT_ONCE)
        )
        return [(run_id, new_id) for run_id, new_id in self._reader.fetch(query)]

    async def _do(self, kind: str, rows: list[tuple[str, str]]) -> dict[str, str]:
        done = await asyncio.gather(*(self._do_one(kind, *row) for row in rows))
        return dict(zip((run_id for run_id, _ in rows), done, strict=True))

    async def _do_one(self, kind: str, run_id: str, new_run_id: str) -> str:
        if kind == CANCEL:
            message = "cancelled by `jtask runs cancel`"
            return str((await self._client.cancel(run_id, message)).result)
        return await rerun(self._client, await asyncio.to_thread(self._run, run_id), new_run_id)

    def _run(self, run_id: str) -> RunSummary:
        run = self._reader.run(run_id)
        if run is None:
            raise IndexUnavailable(f"run {run_id} is no longer in the index")
        return run

    def _note(self, operation_id: str, results: dict[str, str]) -> None:
        columns = bulk_operation_run.c
        with translated(self._engine), self._engine.begin() as connection:
            for run_id, result in results.items():
                of_run = (columns.operation_id == operation_id, columns.run_id == run_id)
                done = update(bulk_operation_run).where(*of_run).values(result=result)
                connection.execute(done)


def whoami() -> str:
    """Return who this process works for: `user@host`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in many containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
