"""What is done to runs of the index: cancel them, and execute them again."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from jtask.bulk_actions import BulkAction, BulkItem
from jtask.client import get_client
from jtask.run_filters import RunFilter
from jtask.run_summaries import RunSummary
from jtask.states import FINAL
from jtask_index.reader import IndexReader
from jtask_index.rerunning import rerun

if TYPE_CHECKING:
    from jtask_index.bulk import Ask

CANCEL = "cancel runs"
RERUN = "rerun runs"
UNKNOWN = "not known to the index"
NOT_OVER = "not rerun: it is not over"

_PAGE = 1000


def run_actions(ask: "Ask") -> tuple[BulkAction, ...]:
    """Return both.

    Args:
        ask: Asks the index.
    """

    async def execute_again(item: BulkItem) -> str:
        run = await ask(_run(item.run_id))
        if run is None:
            return UNKNOWN
        # With other arguments it is another call, of which nothing is executed twice.
        if not item.arguments and not await _is_over(run):
            return NOT_OVER
        return await rerun(get_client(), run, item.new_run_id, item.arguments)

    return (
        # Waiting runs are the newest: executing ones cancelled first would make room for them.
        BulkAction(CANCEL, _cancel, newest_first=True),
        BulkAction(RERUN, execute_again, enqueues=True),
    )


def is_meant(kind: str, run: RunSummary) -> bool:
    """Tell whether a run that a filter takes is one to act on.

    What is over cannot be cancelled; to rerun what is not would execute it twice.
    """
    return (run.state in FINAL) is (kind == RERUN)


def count_meant(index: IndexReader, kind: str, wanted: RunFilter) -> int:
    """Return how many runs an operation would be about."""
    return sum(is_meant(kind, run) for run in _all_of(index, wanted))


async def _cancel(item: BulkItem) -> str:
    answer = await get_client().cancel(item.run_id, f"cancelled by {item.who}")
    return str(answer.result)


async def _is_over(run: RunSummary) -> bool:
    # The index hears of an end a moment later than whoever waited for it.
    return run.state in FINAL or await get_client().broker.results.get(run.run_id) is not None


def _run(run_id: str) -> Callable[[IndexReader], RunSummary | None]:
    return lambda index: index.run(run_id)


def _all_of(index: IndexReader, wanted: RunFilter) -> Iterator[RunSummary]:
    after: str | None = None
    while True:
        page = index.runs(wanted, after=after, limit=_PAGE)
        yield from page.runs
        if page.after is None:
            return
        after = page.after
