"""Renew the leases on the runs that this process holds."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Protocol

from jtask.lease_guard import LeaseGuard
from jtask_nats.access import Access
from jtask_nats.client.connection import Connection
from jtask_nats.queues.lease_renewer import open_renewer, renewer_on

_RENEWALS_PER_LEASE = 3  # one may be lost with a dying socket, and the next still comes in time
# What is sent during an election is lost without a word, and that takes up to 9 s: of a lease of
# 15 s, that and the pauses before and after it.
_RENEWALS_ON_CLUSTER = 6


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
        is_replicated: Whether another server may have to take over the consumers.

    Attributes:
        hold: Put a lease under the guard too, by its ack subject; returns its slot.
        drop: Take the lease in a slot away from the guard.
    """

    def __init__(
        self, connection: Connection, lease: float, access: Access, *, is_replicated: bool
    ) -> None:
        self._renew = renewer_on(connection)
        self._interval = lease / (_RENEWALS_ON_CLUSTER if is_replicated else _RENEWALS_PER_LEASE)
        self._holders: list[LeaseHolder] = []
        self._guard = LeaseGuard(open_renewer, access._asdict(), lease)
        self._timer: asyncio.TimerHandle | None = None
        self.hold = self._guard.hold
        self.drop = self._guard.drop

    def add(self, holder: LeaseHolder) -> None:
        """Renew the leases of this holder from now on."""
        if self._timer is None:
            self._guard.start()
            self._tick()
        self._holders.append(holder)

    def remove(self, holder: LeaseHolder) -> None:
        """Stop renewing the leases of this holder."""
        with contextlib.suppress(ValueError):
            self._holders.remove(holder)

    def renew_now(self) -> None:
        """Renew at once: while the server was away, the leases may have run out."""
        for holder in self._holders:
            self._renew(holder.ack_subjects())

    async def close(self) -> None:
        """Stop renewing, and end the guard."""
        self._holders.clear()
        if self._timer is not None:
            self._timer.cancel()
        await self._guard.close()

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._tick)
        self.renew_now()
