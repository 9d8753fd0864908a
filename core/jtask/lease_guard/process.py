"""The guard itself: a small process that a worker starts beside it, see `guard`."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

from jtask.lease_guard.assignment import Assignment
from jtask.lease_guard.decision import Observation, must_end, must_renew
from jtask.lease_guard.renewals import Renewals
from jtask.lease_guard.table import LeaseTable

_EAGER_LEASE = 5.0  # seconds; under this there is no time to import and connect when it is needed
_CLOSE_TIMEOUT = 1.0  # seconds; less than the worker waits


class GuardProcess:
    """Watch one worker, and renew its leases while it cannot.

    Args:
        assignment: The worker, and how to renew.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._worker = assignment.worker
        self._supervisor = assignment.supervisor
        self._patience = assignment.patience
        self._lease = assignment.lease
        self._beat = assignment.beat
        self._table = LeaseTable(assignment.table)
        config = json.loads(assignment.config)
        self._renewals = Renewals(assignment.renewer, config, self._lease, self._table.claims)
        self._orphaned = asyncio.Event()

    async def run(self) -> None:
        """Watch until the worker is gone, then close the renewer."""
        renewing = asyncio.get_running_loop().create_task(self._renewals.run())
        with contextlib.suppress(OSError):  # the worker is gone
            await self._watch()
        renewing.cancel()
        await asyncio.wait([renewing], timeout=_CLOSE_TIMEOUT)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        # Readable at its end: the worker closed it, or died in whatever way.
        loop.add_reader(sys.stdin.fileno(), self._orphaned.set)
        if self._lease < _EAGER_LEASE:
            self._renewals.prepare()
        before, moved_at = observe(self._worker, self._table), loop.time()
        supervised_at = moved_at
        while not self._orphaned.is_set() and os.getppid() == self._worker:
            await self._pause()
            now = observe(self._worker, self._table)
            if now.beats != before.beats:
                moved_at = loop.time()
            if must_renew(before, now, loop.time() - moved_at, self._lease):
                self._renewals.request()
            if self._supervisor in (0, now.parent):
                supervised_at = loop.time()
            elif must_end(
                orphaned_for=loop.time() - supervised_at,
                still_for=loop.time() - moved_at,
                patience=self._patience,
            ):
                os.kill(self._worker, signal.SIGKILL)
            before = now

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._orphaned.wait(), self._beat)


def observe(pid: int, table: LeaseTable) -> Observation:
    """Look at a process.

    Raises:
        OSError: It is gone.
    """
    stat = Path(f"/proc/{pid}/stat").read_text()
    # The name, in brackets, may hold anything; the fields are counted from behind it.
    fields = stat[stat.rindex(")") + 2 :].split()
    user_ticks, system_ticks = int(fields[11]), int(fields[12])
    return Observation(table.beats(), user_ticks + system_ticks, fields[0], int(fields[1]))


async def guard(assignment: Assignment) -> None:
    """Guard a worker; ends this process."""
    await GuardProcess(assignment).run()
    # At once: tasks and threads that a broker's renewer leaves behind must not outlive the worker.
    os._exit(0)


def main() -> None:
    """Guard the process that started this one; it says how on standard input."""
    asyncio.run(guard(Assignment.from_line(sys.stdin.buffer.readline())))


if __name__ == "__main__":
    main()
