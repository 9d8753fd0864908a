"""The end of a pause, on a clock that moves between any two looks at it."""

import asyncio
import itertools
from collections.abc import Callable

import pytest

from jtask.contract import Delivery, Message
from jtask.ids import RunIds
from jtask_memory import MemoryBroker, Storage
from jtask_memory.clock import Timer

PATIENCE = 10  # seconds; only a failing test waits so long


class SteppingClock:
    """Each look is a second later than the one before; what is awaited comes early."""

    def __init__(self) -> None:
        self._seconds = itertools.count(1_000)

    def time(self) -> float:
        return float(next(self._seconds))

    def call_at(
        self, instant: float, callback: Callable[[], None], loop: asyncio.AbstractEventLoop
    ) -> Timer:
        return loop.call_later(0.001, callback)


@pytest.mark.parametrize("until", range(1_001, 1_020))
def test_a_run_is_delivered_whenever_the_pause_ends(until: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        broker = MemoryBroker("memory://test", Storage(SteppingClock()), loop)
        delivered: asyncio.Future[Delivery] = loop.create_future()
        await broker.queues.pause("reports", float(until))
        await broker.runs.enqueue([Message(RunIds().new(), "reports", b"")])
        await broker.runs.consume(["reports"], 1, delivered.set_result)
        (await asyncio.wait_for(delivered, PATIENCE)).ack()
        await broker.close()

    asyncio.run(main())
