"""Runs that may be what killed their workers, kept apart from the others."""

import logging
from collections import deque

from jtask.execution.job import Job
from jtask.lifecycle import is_suspect, isolated_limit, may_isolate
from jtask.plugins import hooks_of

_PROCESSES = 4  # at once: each has loaded what the worker has
_log = logging.getLogger("jtask.worker")


class Suspects:
    """The suspects of one worker (`lifecycle.is_suspect`); on the I/O thread only.

    Where a plugin can, each executes in a process of its own: if that dies, the blame is certain,
    and nobody else's run is lost with it. Of the others one at a time executes in the worker.

    Args:
        max_crashes: How many workers a run may lose.

    Attributes:
        are_any: Whether any waits or executes; False for nearly all workers, which need not ask.
    """

    def __init__(self, max_crashes: int) -> None:
        self._max_crashes = max_crashes
        self._isolated = _Turns(_PROCESSES)
        self._shared = _Turns(1)
        self.are_any = False

    def add(self, job: Job) -> bool:
        """Let a run wait for its turn if it is a suspect.

        Args:
            job: The run.

        Returns:
            bool: Whether it is one.
        """
        if not is_suspect(job.delivery.lost_workers):
            return False
        if may_isolate(self._max_crashes):
            self._isolate(job)
        self._turns(job).waiting.append(job)
        self.are_any = True
        return True

    def limit(self, job: Job) -> int:
        """Return how many workers a run may lose, given how it is executed."""
        if job.isolate is None:
            return self._max_crashes
        return isolated_limit(self._max_crashes)

    def waiting(self) -> list[Job]:
        """Return those that wait."""
        return [*self._isolated.waiting, *self._shared.waiting]

    def is_one_next(self) -> bool:
        """Tell whether one waits whose turn it is."""
        return self._isolated.is_one_next() or self._shared.is_one_next()

    def next_job(self) -> Job:
        """Return one whose turn it is, which executes from now on."""
        turns = self._isolated if self._isolated.is_one_next() else self._shared
        job = turns.waiting.popleft()
        turns.executing.add(job)
        return job

    def remove(self, job: Job) -> bool:
        """Remove one that waits; False when it does not."""
        turns = self._turns(job)
        if job not in turns.waiting:
            return False
        turns.waiting.remove(job)
        return True

    def take_all(self) -> list[Job]:
        """Return those that wait, and let none wait any more."""
        waiting = self.waiting()
        self._isolated.waiting.clear()
        self._shared.waiting.clear()
        return waiting

    def ended(self, job: Job) -> None:
        """Give the turn of a suspect that has ended, or waits for other runs, to the next."""
        self._turns(job).executing.discard(job)
        self.are_any = self._isolated.are_any() or self._shared.are_any()

    def goes_on(self, job: Job) -> None:
        """Count one that has waited for other runs as executing."""
        if is_suspect(job.delivery.lost_workers):
            self._turns(job).executing.add(job)
            self.are_any = True

    def _turns(self, job: Job) -> "_Turns":
        return self._shared if job.isolate is None else self._isolated

    def _isolate(self, job: Job) -> None:
        try:
            job.isolate = hooks_of(job.task).isolation()
        except Exception:
            _log.warning("run %s cannot be isolated", job.delivery.run_id, exc_info=True)


class _Turns:
    """Who waits and who executes, of those that share a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.waiting: deque[Job] = deque()
        self.executing: set[Job] = set()

    def are_any(self) -> bool:
        return bool(self.waiting or self.executing)

    def is_one_next(self) -> bool:
        return bool(self.waiting) and len(self.executing) < self._limit
