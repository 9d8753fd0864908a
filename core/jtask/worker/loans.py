"""The slots of runs that wait for other runs: others have them meanwhile."""

from jtask.execution.job import Job
from jtask.worker.executions import Executions
from jtask.worker.slots import SlotPool
from jtask.worker.suspects import Suspects


class Loans:
    """Lend the slot of each run that waits, until it goes on; on the I/O thread only.

    A run goes on at once, even if all slots are taken: it may hold what those that have them wait
    for, such as a lock, and its time limit counts. For a moment more runs execute than there are
    slots; none begins until that is over.

    Args:
        slots: The worker's.
        executions: What has to make room as well.
        suspects: Whose turns are lent in the same way.
    """

    def __init__(self, slots: SlotPool, executions: Executions, suspects: Suspects) -> None:
        self._slots = slots
        self._executions = executions
        self._suspects = suspects
        self._waits: dict[Job, int] = {}

    def note(self, job: Job, change: int) -> bool:
        """Take note that a run begins to wait, or goes on.

        Args:
            job: The run, which executes. Several of its threads and coroutines may wait at a time.
            change: 1 or -1, to the number of its waits.

        Returns:
            bool: Whether a slot was lent or a loan has ended.
        """
        before = self._waits.get(job, 0)
        if (waits := before + change) <= 0:
            return self.end(job)
        self._waits[job] = waits
        if not before:
            self._begin(job)
        return not before

    def end(self, job: Job) -> bool:
        """End the loan of a run that goes on or is over; False when it has its slot."""
        if self._waits.pop(job, None) is None:
            return False
        self._slots.end_loan()
        self._executions.resize(job, -1)
        self._suspects.goes_on(job)
        return True

    def _begin(self, job: Job) -> None:
        self._slots.lend()
        self._executions.resize(job, +1)
        self._suspects.ended(job)
