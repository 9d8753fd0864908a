"""Operations of other commands, carried out as those of this index are."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from jtask.bulk_actions import BulkAction, BulkCarrier
from jtask_index.bulk import Ask, BulkOperations, Progress
from jtask_index.operations import OperationLog, whoami
from jtask_index.reader import IndexReader

T = TypeVar("T")


def asking(index: IndexReader) -> Ask:
    """Return what asks an index in a thread, from any loop."""

    async def ask(question: Callable[[IndexReader], T], /) -> T:
        return await asyncio.to_thread(question, index)

    return ask


def carrier(index: IndexReader, actions: Iterable[BulkAction]) -> BulkCarrier:
    """Return what notes an operation in an index and carries it out.

    Args:
        index: Where; closed at the end.
        actions: What can be done.
    """
    bulk = BulkOperations(asking(index), actions)

    def carry_out(
        kind: str, run_ids: Sequence[str], about: str, tell: Callable[[int, int], None]
    ) -> dict[str, str]:
        def show(progress: Progress) -> None:
            tell(progress.done, progress.total)

        async def begin_and_end() -> str:
            operation = await bulk.begin_with(kind, run_ids, whoami(), about=about)
            await bulk.carry_out(operation, show)
            return operation.operation_id

        with index:
            operation_id = asyncio.run(begin_and_end())
            return OperationLog(index.engine).results_by_run(operation_id)

    return carry_out
