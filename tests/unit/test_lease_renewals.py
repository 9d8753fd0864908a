"""When leases are renewed."""

import asyncio
from itertools import pairwise
from typing import Any, cast

import pytest
from virtual_loop import VirtualLoop

from jtask.settings import Settings
from jtask_memory import VirtualClock
from jtask_nats.access import Access
from jtask_nats.queues import leases
from jtask_nats.queues.leases import Leases

ELECTION = 9.5  # seconds: 9 at most, and what the new leader needs to be reached
MARGIN = 1.0  # seconds that a renewal may be late


class Guard:
    """No process at all."""

    def __init__(self, *arguments: object) -> None:
        self.hold = self.drop = self.start = lambda *_: None

    async def close(self) -> None: ...


class Sent:
    """A connection that notes when something is sent."""

    def __init__(self) -> None:
        self.instants: list[float] = []

    def send(self, subject: str, data: bytes) -> None:
        self.instants.append(asyncio.get_running_loop().time())


class Holder:
    def ack_subjects(self) -> list[str]:
        return ["$JS.ACK.a.run"]


def renewals(lease: float) -> list[float]:
    """Return when a worker on a cluster renews in a minute."""
    sent = Sent()

    async def main() -> None:
        some = Leases(cast("Any", sent), lease, Access(("nats://x",)), is_replicated=True)
        some.add(Holder())
        await asyncio.sleep(60)
        await some.close()

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(VirtualClock(0.0))) as runner:
        runner.run(main())
    return sent.instants


def test_no_lease_is_over_when_a_leader_is_elected_whenever_that_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases, "LeaseGuard", Guard)
    lease = Settings().lease
    instants = renewals(lease)
    for _, lost in pairwise(instants[: len(instants) // 2]):
        # It begins right before this one would have arrived.
        effective = [at for at in instants if at < lost or at > lost + ELECTION]
        assert max(after - before for before, after in pairwise(effective)) <= lease - MARGIN
