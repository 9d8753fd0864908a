"""The watch itself: a small process that a worker starts beside it, see `jtask.lease_guard`.

Nothing is imported here before it is needed: each worker has such a process, which hardly
ever has anything to do.
"""

import os
import select
import sys
import time

from jtask.lease_watch.assignment import SHORT_LEASE, Assignment
from jtask.lease_watch.decision import Observation, must_end, must_renew
from jtask.lease_watch.table import LeaseTable

TYPE_CHECKING = False  # true for type checkers; `typing` alone takes a MiB
if TYPE_CHECKING:
    from jtask.lease_watch.renewals import RenewalThread

_CLOSE_TIMEOUT = 1.0  # seconds; less than the worker waits
_SIGKILL = 9  # the module `signal` takes half a MiB


class LeaseWatch:
    """Watch one worker, and renew its leases while it cannot.

    Args:
        assignment: The worker, and how to renew.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._table = LeaseTable(assignment.table)
        self._renewals: RenewalThread | None = None

    def run(self) -> None:
        """Watch until the worker is gone, then close the renewer."""
        try:  # noqa: SIM105 - the module for it takes half a MiB
            self._watch()
        except OSError:  # the worker is gone
            pass
        if self._renewals is not None:
            self._renewals.close(_CLOSE_TIMEOUT)

    def _watch(self) -> None:
        worker, supervisor = self._assignment.worker, self._assignment.supervisor
        if self._assignment.lease < SHORT_LEASE:
            self._renewer()
        before, moved_at = observe(worker, self._table), time.monotonic()
        supervised_at = moved_at
        while not self._is_orphaned() and os.getppid() == worker:
            now, instant = observe(worker, self._table), time.monotonic()
            if now.beats != before.beats:
                moved_at = instant
            if must_renew(before, now, instant - moved_at, self._assignment.lease):
                self._renewer().request()
            if supervisor in (0, now.parent):
                supervised_at = instant
            elif must_end(
                orphaned_for=instant - supervised_at,
                still_for=instant - moved_at,
                patience=self._assignment.patience,
            ):
                os.kill(worker, _SIGKILL)
            before = now

    def _is_orphaned(self) -> bool:
        """Wait for the next look; tell whether the worker has gone meanwhile."""
        # The worker says that it is over, or has died in whatever way, which ends the input.
        readable, _, _ = select.select([sys.stdin.fileno()], [], [], self._assignment.beat)
        return bool(readable)

    def _renewer(self) -> "RenewalThread":
        if self._renewals is None:
            from jtask.lease_watch.renewals import RenewalThread

            self._renewals = RenewalThread(self._assignment, self._table.claims)
        return self._renewals


def observe(pid: int, table: LeaseTable) -> Observation:
    """Look at a process.

    Raises:
        OSError: It is gone.
    """
    # Not by pathlib, which takes more than a MiB.
    with open(f"/proc/{pid}/stat") as file:
        stat = file.read()
    # The name, in brackets, may hold anything; the fields are counted from behind it.
    fields = stat[stat.rindex(")") + 2 :].split()
    user_ticks, system_ticks = int(fields[11]), int(fields[12])
    return Observation(table.beats(), user_ticks + system_ticks, fields[0], int(fields[1]))


def main() -> None:
    """Guard the process that started this one; it says how on standard input."""
    # Unbuffered: of what follows the line, `select` has to tell.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as orders:
        line = orders.readline()
    LeaseWatch(Assignment.from_line(line)).run()
    # At once: tasks and threads that a broker's renewer leaves behind must not outlive the worker.
    os._exit(0)
