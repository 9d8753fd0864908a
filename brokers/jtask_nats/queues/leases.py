"""Renew the leases on the runs that this process holds."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Sequence
from typing import Protocol

from jtask_nats.client.connection import Connection
from jtask_nats.queues.lease_guard import GuardAccess, LeaseGuard

IN_PROGRESS = b"+WPI"  # starts ack_wait anew
_RENEWALS_PER_LEASE = 3  # one may be lost with a dying socket, and the next still comes in time
_BEATS_PER_LEASE = 6  # so that the guard notices a standstill within a third of a lease
_LONGEST_BEAT = 1.0  # seconds
_NO_SLOT = -1

_log = logging.getLogger("jtask")


class LeaseHolder(Protocol):
    """Something that holds leases to be renewed."""

    def ack_subjects(self) -> Sequence[str]:
        """Return the ack subjects of the leases it holds."""
        ...


class Leases:
    """Renew from the loop, and let a guard process do it while the loop cannot.

    Args:
        connection: To the server.
        lease: Seconds after which an unrenewed lease is over.
        access: How the guard reaches the server.
    """

    def __init__(self, connection: Connection, lease: float, access: GuardAccess) -> None:
        self._connection = connection
        self._access = access
        self._lease = lease
        self._beat = min(_LONGEST_BEAT, lease / _BEATS_PER_LEASE)
        self._holders: list[LeaseHolder] = []
        self._guard: LeaseGuard | None = None
        self._starting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def add(self, holder: LeaseHolder) -> None:
        """Renew the leases of this holder from now on."""
        if self._starting is None:
            self._begin()
        self._holders.append(holder)

    def remove(self, holder: LeaseHolder) -> None:
        """Stop renewing the leases of this holder."""
        with contextlib.suppress(ValueError):
            self._holders.remove(holder)

    def hold(self, reply: str) -> int:
        """Put a lease under the guard too; returns its slot, for `drop`."""
        return _NO_SLOT if self._guard is None else self._guard.hold(reply)

    def drop(self, slot: int) -> None:
        """Take a lease away from the guard."""
        if slot != _NO_SLOT and self._guard is not None:
            self._guard.drop(slot)

    async def close(self) -> None:
        """Stop renewing, and end the guard."""
        self._holders.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._starting is not None:
            await self._starting
        if self._guard is not None:
            guard, self._guard = self._guard, None
            # Blocking, for a few milliseconds: at exit no executor takes work any more.
            guard.close()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        if sys.platform == "linux":
            self._guard = LeaseGuard()
        self._starting = loop.create_task(self._start_guard())
        self._due = loop.time()
        self._tick()

    async def _start_guard(self) -> None:
        if self._guard is None:
            return
        start, lease = self._guard.start, self._lease
        try:
            await asyncio.get_running_loop().run_in_executor(
                None, start, self._access, lease, self._beat
            )
        except OSError as error:
            _log.warning(
                "no lease guard (%s): a task that blocks the interpreter for more than %g s "
                "may be started again on another worker",
                error,
                lease,
            )

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        if self._guard is not None:
            self._guard.beat()
        if loop.time() >= self._due:
            self._due = loop.time() + self._lease / _RENEWALS_PER_LEASE
            self._renew()
        self._timer = loop.call_later(self._beat, self._tick)

    def _renew(self) -> None:
        send = self._connection.send
        for holder in self._holders:
            for reply in holder.ack_subjects():
                # No answer is asked for: one that is lost is followed by another.
                send(reply, IN_PROGRESS)
