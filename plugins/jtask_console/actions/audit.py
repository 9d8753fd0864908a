"""Who did what, and when: kept beside the index of runs."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import desc, insert, select, update

from jtask_console.run_index import RunIndex
from jtask_index.schema import bulk_operation

_columns = bulk_operation.c
_ENTRIES: Any = select(
    _columns.operation_id,
    _columns.kind,
    _columns.who,
    _columns.filter,
    _columns.at,
    _columns.runs,
    _columns.finished,
)


class AuditEntry(NamedTuple):
    """Something that somebody did.

    Attributes:
        operation_id: Of the action.
        kind: What was done.
        who: By whom.
        target: To what; of runs, the filter or their ids.
        at: When it was begun, seconds since the epoch.
        runs: How much was done.
        finished: When it ended; None before, and when it was broken off with the console.
    """

    operation_id: str
    kind: str
    who: str
    target: str
    at: float
    runs: int = 0
    finished: float | None = None


class AuditLog:
    """The table of what was done.

    Args:
        index: Where it is.
    """

    def __init__(self, index: RunIndex) -> None:
        self._index = index

    async def begin(self, entry: AuditEntry) -> None:
        """Write down that something is begun.

        Raises:
            JTaskError: That cannot be done.
        """
        await self._index.write(
            insert(bulk_operation).values(
                operation_id=entry.operation_id,
                kind=entry.kind,
                who=entry.who,
                at=entry.at,
                filter=entry.target,
                runs=0,
            )
        )

    async def end(self, operation_id: str, runs: int) -> None:
        """Write down that it has ended.

        Args:
            operation_id: Which.
            runs: How much was done.

        Raises:
            JTaskError: That cannot be done.
        """
        ended = update(bulk_operation).where(_columns.operation_id == operation_id)
        await self._index.write(ended.values(runs=runs, finished=time.time()))

    async def newest(self, limit: int) -> list[AuditEntry]:
        """Return what was done, the newest first."""
        return await self._entries(_ENTRIES.order_by(desc(_columns.at)).limit(limit))

    async def unfinished(self, kinds: Sequence[str]) -> list[AuditEntry]:
        """Return what was begun of some kinds and has not ended, the oldest first."""
        query = _ENTRIES.where(_columns.finished.is_(None), _columns.kind.in_(kinds))
        return await self._entries(query.order_by(_columns.at))

    async def _entries(self, query: Any) -> list[AuditEntry]:
        rows = await self._index.ask(lambda index: index.fetch(query))
        return [AuditEntry(*row) for row in rows]
