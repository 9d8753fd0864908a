"""Have one guard process while it is wanted."""

import asyncio
import logging
import time

from jtask.lease_guard.process import GuardProcess
from jtask.lease_watch.assignment import Assignment

_EXIT_TIMEOUT = 2.0  # seconds; more than the guard takes to close the broker's renewer
_log = logging.getLogger("jtask")


class GuardKeeper:
    """Start the process, start it again when it has died, and let it go.

    Args:
        assignment: What each process is told.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._process: GuardProcess | None = None
        self._leaving: set[GuardProcess] = set()
        self._start_at = 0.0  # by the monotonic clock
        self._is_failing = False

    @property
    def pid(self) -> int | None:
        """The process id of the guard, while there is one."""
        return None if self._process is None else self._process.pid

    def ensure(self) -> None:
        """Have one; when it cannot be started, a warning is logged."""
        process = self._process
        if process is not None and process.exit_status() is None:
            return
        now = time.monotonic()
        # Once in a lease: one that cannot live is not to keep the machine busy.
        if now < self._start_at:
            return
        if process is not None:
            _log.warning(
                "the lease guard (process %d) has ended with %d: another one is started",
                process.pid,
                process.exit_status(),
            )
        self._start_at = now + self._assignment.lease
        self._process = self._started()

    def let_go(self) -> None:
        """Have none; it ends soon, and the next one need not wait for that."""
        process, self._process = self._process, None
        self._start_at = 0.0
        if process is not None:
            process.ask_to_end()
            self._leaving.add(process)
            asyncio.get_running_loop().call_later(_EXIT_TIMEOUT, self._end, process, 0.0)

    def close(self) -> None:
        """Have none; returns when all are gone."""
        self.let_go()
        for process in list(self._leaving):
            # Blocking, for a few milliseconds: at exit no executor takes work any more.
            self._end(process, _EXIT_TIMEOUT)

    def _end(self, process: GuardProcess, timeout: float) -> None:
        process.end(timeout)
        self._leaving.discard(process)

    def _started(self) -> GuardProcess | None:
        try:
            process = GuardProcess(self._assignment)
        except OSError as error:
            if not self._is_failing:
                _log.warning(
                    "no lease guard (%s): a task that blocks the interpreter for more than %g s "
                    "may be started again elsewhere",
                    error,
                    self._assignment.lease,
                )
            self._is_failing = True
            return None
        self._is_failing = False
        return process
