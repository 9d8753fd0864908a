"""The runs that an action is about, kept until each is dealt with, so that it can be resumed."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from sqlalchemy import func, insert, select, update

from jtask.ids import get_run_ids
from jtask.run_filters import RunFilter
from jtask.run_index import RunPage
from jtask_console.run_index import RunIndex
from jtask_index.reader import IndexReader
from jtask_index.schema import bulk_operation_run

_AT_ONCE = 200
_columns = bulk_operation_run.c


class ListedRun(NamedTuple):
    """A run that an action is about.

    Attributes:
        run_id: The run.
        new_run_id: The one that executes it again, should the action want that.
    """

    run_id: str
    new_run_id: str


class RunList:
    """The runs of one action.

    Args:
        index: Where they are kept.
        operation_id: Of the action.
    """

    def __init__(self, index: RunIndex, operation_id: str) -> None:
        self._index = index
        self._operation_id = operation_id

    async def fill(self, run_ids: Sequence[str]) -> int:
        """List runs by their ids; returns how many."""
        new_ids = get_run_ids().new_many(len(run_ids))
        rows = [
            {"operation_id": self._operation_id, "run_id": one, "new_run_id": new, "result": ""}
            for one, new in zip(run_ids, new_ids, strict=True)
        ]
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            await self._index.write(insert(bulk_operation_run).values(some))
        return len(rows)

    async def fill_with(self, wanted: RunFilter) -> int:
        """List the runs that a filter takes now; returns how many."""
        count, after = 0, None
        while True:
            page = await self._index.ask(partial(_page, wanted, after))
            count += await self.fill([run.run_id for run in page.runs])
            if page.after is None:
                return count
            after = page.after

    async def open_runs(self) -> list[ListedRun]:
        """Return some that are not dealt with; none when all are."""
        query = (
            select(_columns.run_id, _columns.new_run_id)
            .where(_columns.operation_id == self._operation_id, _columns.result == "")
            .limit(_AT_ONCE)
        )
        rows = await self._index.ask(lambda index: index.fetch(query))
        return [ListedRun(*row) for row in rows]

    async def count(self) -> tuple[int, int]:
        """Return how many are dealt with, and how many there are."""
        query = select(func.count(), func.count().filter(_columns.result != "")).where(
            _columns.operation_id == self._operation_id
        )
        [(total, done)] = await self._index.ask(lambda index: index.fetch(query))
        return done, total

    async def settle(self, results: Mapping[str, str]) -> None:
        """Say what came of some, by their ids."""
        by_result: dict[str, list[str]] = {}
        for run_id, result in results.items():
            by_result.setdefault(result, []).append(run_id)
        for result, run_ids in by_result.items():
            settled = update(bulk_operation_run).where(
                _columns.operation_id == self._operation_id, _columns.run_id.in_(run_ids)
            )
            await self._index.write(settled.values(result=result))

    async def results(self) -> dict[str, int]:
        """Return how often what came of them."""
        query = (
            select(_columns.result, func.count())
            .where(_columns.operation_id == self._operation_id)
            .group_by(_columns.result)
        )
        rows = await self._index.ask(lambda index: index.fetch(query))
        return {result: count for result, count in rows if result}


def _page(wanted: RunFilter, after: str | None, index: IndexReader) -> RunPage:
    return index.runs(wanted, after=after, limit=_AT_ONCE)
