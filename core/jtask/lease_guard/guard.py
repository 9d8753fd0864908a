"""The worker's side of the lease guard.

A task in C code that does not release the GIL (a regular expression, a power of large numbers)
stops the worker's I/O thread with everything else. Its run is not dead, so it must not be started
elsewhere. The guard, a small process, watches a heartbeat in shared memory; when it stands still
and the worker still burns CPU, the guard renews the leases that the worker has entered there. A
worker that is stopped, dead or deadlocked burns none and loses its leases as it should.

Linux only: elsewhere there is no /proc to tell a busy process from a stuck one.

A worker that holds no lease has nothing to guard, so it has no guard: the first lease starts it,
and some time without any ends it. Both are the worker's doing, on one loop; a guard that went by
itself could miss the lease that comes just then.
"""

import asyncio
import json
import os
import sys
from typing import Any

from jtask.lease_guard.keeper import GuardKeeper
from jtask.lease_watch.assignment import SHORT_LEASE, Assignment
from jtask.lease_watch.renewer import OpenRenewer, name_of
from jtask.lease_watch.table import NO_SLOT, SIZE, LeaseTable

_BEATS_PER_LEASE = 6  # so that the guard notices a standstill within a third of a lease
_LONGEST_BEAT = 1.0  # seconds
_REST = 60.0  # seconds

_supervision = (0, 0.0)


class LeaseGuard:
    """Let another process renew leases while nothing in this one can execute.

    The broker renews its leases from its event loop, as it would without a guard. It also enters
    each claim here, for as long as it holds it. While the loop stands still although the process
    is busy, the guard calls the broker's renewer with the claims that are entered.

    All methods are called on that event loop. Where there is no guard (not on Linux, not started,
    closed), they do nothing.

    Args:
        open_renewer: Connects to the broker in the guard's process and gives what renews claims:
            an async context manager at the top level of an importable module. The guard imports
            that module when it first has to renew, for short leases at its start.
        config: What `open_renewer` is called with; anything that JSON can carry. It may hold
            passwords: no other user of the machine can read it.
        lease: Seconds after which an unrenewed lease is over.
        rest: Seconds without a lease after which the process ends, until the next one. Where
            leases are short it stays: its start would take too much of one.

    Raises:
        ConfigurationError: Another process cannot import `open_renewer` by its name.
        TypeError: JSON cannot carry the configuration.
    """

    def __init__(
        self, open_renewer: OpenRenewer, config: Any, lease: float, rest: float = _REST
    ) -> None:
        self._renewer = name_of(open_renewer)
        self._config = json.dumps(config)
        self._lease = lease
        self._rest = rest
        self._beat_interval = min(_LONGEST_BEAT, lease / _BEATS_PER_LEASE)
        self._descriptor = -1
        self._table: LeaseTable | None = None
        self._keeper: GuardKeeper | None = None
        self._timer: asyncio.TimerHandle | None = None  # of the heartbeat; None at rest
        self._was_used = False  # since the last beat
        self._rests_at = 0.0  # by the loop's clock

    @property
    def pid(self) -> int | None:
        """The guard's process id, while there is one."""
        return None if self._keeper is None else self._keeper.pid

    def start(self) -> None:
        """Be ready for leases.

        When the process cannot be started, now or later, a warning is logged.

        Raises:
            OSError: There is no memory to share.
        """
        if sys.platform != "linux" or self._table is not None:
            return
        self._descriptor = os.memfd_create("jtask-leases")
        os.ftruncate(self._descriptor, SIZE)
        self._table = LeaseTable(self._descriptor)
        self._keeper = GuardKeeper(self._assignment())
        if self._lease < SHORT_LEASE:
            self._rest = float("inf")
            self._wake(self._table, self._keeper)

    def hold(self, claim: str) -> int:
        """Put a lease under the guard.

        Args:
            claim: What the renewer needs to renew it, such as a receipt or an ack subject; at most
                254 bytes as UTF-8.

        Returns:
            int: Its slot, for `drop`; NO_SLOT when it is not guarded: the claim is too long, or
            4,096 others are held.
        """
        if self._table is None:
            return NO_SLOT
        slot = self._table.put(claim)
        self._was_used = True
        if self._timer is None and self._keeper is not None:
            self._wake(self._table, self._keeper)
        return slot

    def drop(self, slot: int) -> None:
        """Take a lease away from the guard, once.

        Args:
            slot: What `hold` returned.
        """
        if slot != NO_SLOT and self._table is not None:
            self._table.clear(slot)

    async def close(self) -> None:
        """Stop the heartbeat and end the process; returns when it is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None
        if self._table is not None:
            table, self._table = self._table, None
            table.close()
            os.close(self._descriptor)

    def _assignment(self) -> Assignment:
        return Assignment(
            os.getpid(),
            self._descriptor,
            self._lease,
            self._beat_interval,
            self._renewer,
            self._config,
            *_supervision,
        )

    def _wake(self, table: LeaseTable, keeper: GuardKeeper) -> None:
        self._was_used = True
        self._beat(table, keeper)

    def _beat(self, table: LeaseTable, keeper: GuardKeeper) -> None:
        if self._is_needed(table):
            table.beat()
            keeper.ensure()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._beat_interval, self._beat, table, keeper)
        else:
            self._timer = None
            keeper.let_go()

    def _is_needed(self, table: LeaseTable) -> bool:
        now = asyncio.get_running_loop().time()
        if self._was_used or table.holds_any():
            self._rests_at = now + self._rest
        self._was_used = False
        return now < self._rests_at


def end_with(supervisor: int, patience: float) -> None:
    """Have the guards that this process starts end it when its supervisor is gone.

    Args:
        supervisor: Process id of its parent.
        patience: Seconds that this process may go on without being able to stop by itself.
    """
    global _supervision
    _supervision = (supervisor, patience)
