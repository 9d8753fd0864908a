"""Whose turn it is on a fair queue, without a broker."""

import asyncio
from typing import cast

from jtask_fairness.tenants import Tenants
from jtask_fairness.turns import Turns


class EndlessTenants:
    """Tenants that always have runs parked; one of theirs starts while others are woken."""

    def __init__(self) -> None:
        self.turns = Turns(cast("Tenants", self))
        self.woken: list[str] = []

    async def list(self) -> list[str]:
        return ["a", "b", "c"]

    async def on_queue(self) -> int:
        return 0

    async def wake(self, tenant: str, count: int) -> int:
        self.turns._add("a")
        self.turns._add("b")
        self.woken += [tenant] * count
        return count


def test_a_run_that_starts_while_others_are_woken_gives_its_tenant_no_second_turn() -> None:
    tenants = EndlessTenants()
    for _ in range(5):
        asyncio.run(tenants.turns.fill(9))
    assert [tenants.woken.count(one) for one in "abc"] == [15, 15, 15]
