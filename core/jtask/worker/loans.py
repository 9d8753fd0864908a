"""The slots of runs that wait for other runs: others have them meanwhile."""

from collections.abc import Collection

from jtask.contract import TOP_PRIORITY
from jtask.execution.job import Job
from jtask.worker.executions import Executions
from jtask.worker.slots import SlotPool
from jtask.worker.suspects import Suspects
from jtask.worker.waiters import Waiters

WOKEN_RANK = TOP_PRIORITY + 1
"""Of runs that hold something for others. Those that are waited for come above, by their depth."""


class Loans:
    """Lend the slot of each run that waits, until it goes on; on the I/O thread only.

    A run goes on at once, even if all slots are taken: it may hold what those that have them wait
    for, such as a lock, and its time limit counts. For a moment more runs execute than there are
    slots; none begins until that is over.

    Args:
        slots: The worker's.
        executions: What has to make room as well.
        suspects: Whose turns are lent in the same way.
        waiters: Counts the runs that wait.

    Attributes:
        are_any: Whether any slot is lent; in most workers none ever is, and they need not ask.
    """

    def __init__(
        self, slots: SlotPool, executions: Executions, suspects: Suspects, waiters: Waiters
    ) -> None:
        self._slots = slots
        self._executions = executions
        self._suspects = suspects
        self._waiters = waiters
        self.are_any = False

    def note(self, job: Job, change: int, run_ids: Collection[str]) -> None:
        """Take note that a run begins to wait, or goes on.

        Args:
            job: The run, which executes.
            change: 1 or -1, to the number of its waits.
            run_ids: What it waits for, or has waited for.
        """
        run_id = job.delivery.run_id
        if change < 0:
            if self._waiters.remove(run_id, run_ids):
                self._end(job)
            return
        if self._waiters.add(run_id, run_ids):
            self.are_any = True
            self._begin(job)
        self._slots.move(run_ids, self._rank(self._waiters.depth_of_waiter(run_id) + 1))

    def end(self, job: Job) -> None:
        """End the loan of a run that is over, if its slot is lent."""
        if self.are_any and self._waiters.forget(job.delivery.run_id):
            self._end(job)

    def rank_of(self, job: Job) -> int:
        """Return whom a run goes before, for those that wait for it; 0 when none does."""
        depth = self._waiters.depth_of(job.delivery.run_id) if self.are_any else 0
        return self._rank(depth) if depth else 0

    @property
    def pressure(self) -> float:
        """How many runs wait, as a multiple of how many may before others are put off."""
        return self._waiters.pressure

    def may_begin(self, rank: int) -> bool:
        """Tell whether a run of a rank may begin, so many as wait."""
        return self._waiters.may_begin(max(0, rank - WOKEN_RANK))

    def _rank(self, depth: int) -> int:
        return WOKEN_RANK + depth

    def _begin(self, job: Job) -> None:
        self._slots.lend()
        self._executions.resize(job, +1)
        self._suspects.ended(job)

    def _end(self, job: Job) -> None:
        self.are_any = len(self._waiters) > 0
        self._slots.end_loan()
        self._executions.resize(job, -1)
        self._suspects.goes_on(job)
