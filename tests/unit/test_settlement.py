"""A stopping worker waits for whatever it has begun to settle."""

import asyncio
from typing import Any, cast

from jtask.contract import Broker, Delivery
from jtask.worker.settlement import Settlement


class SlowResults:
    """Stores an outcome when it is told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def put(self, record: Any) -> bool:
        del record
        await self.go_on.wait()
        return True


class SlowBroker:
    def __init__(self) -> None:
        self.results = SlowResults()


class Unreadable:
    run_id, queue, body, priority = "a-run", "a-queue", b"nonsense", 5

    def __init__(self) -> None:
        self.reasons: list[str] = []

    async def dead_letter(self, reason: str, body: bytes) -> None:
        del body
        self.reasons.append(reason)


class NoEvents:
    def add(self, event: Any) -> None:
        """Keep none."""


def test_a_message_that_is_being_rejected_is_waited_for_until_it_is_a_dead_letter() -> None:
    async def reject() -> None:
        broker, delivery = SlowBroker(), Unreadable()
        settlement = Settlement(cast("Broker", broker), cast("Any", NoEvents()), "a-worker")
        rejecting = asyncio.create_task(
            settlement.reject_unreadable(cast("Delivery", delivery), "no envelope")
        )
        await asyncio.sleep(0)
        waiting = asyncio.create_task(settlement.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        broker.results.go_on.set()
        await waiting
        assert delivery.reasons == ["the message cannot be read: no envelope"]
        await rejecting

    asyncio.run(reject())
