"""When the consumers of a worker are made again, and looked at once more."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from virtual_loop import VirtualLoop

from jtask_memory import VirtualClock
from jtask_nats.queues.pull_health import PullHealth
from jtask_nats.queues.repairs import Repairs
from jtask_nats.streams.run_streams import RunStreams

QUEUE = "mails"


class Topology:
    """Notes when it is asked for the consumer."""

    def __init__(self) -> None:
        self.run_streams = RunStreams("default")
        self.consumers = self
        self.asked: list[float] = []

    async def recheck(self, stream: str) -> None:
        """Find the stream."""

    async def ensure_runs(self, *queues: str) -> None:
        """Find the stream."""

    async def priorities(self, queues: list[str]) -> list[tuple[str, int]]:
        return [(queue, 0) for queue in queues]

    async def ensure_consumer(self, queue: str, priority: int, *, owner: bool) -> bool:
        self.asked.append(asyncio.get_running_loop().time())
        return True


class Broken:
    queue, priority, is_broken = QUEUE, 0, True

    def reset(self) -> None:
        self.is_broken = False


def test_consumers_are_looked_at_again_after_they_were_made_the_last_time() -> None:
    topology = Topology()
    puller: Any = Broken()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        session = cast("Any", SimpleNamespace(topology=topology))
        queues = {QUEUE: [puller]}
        health = PullHealth(loop.time)
        repairs = Repairs(session, queues, health, lambda *_: None, lambda _: None, lambda: None)
        for _ in range(2):
            puller.is_broken = True
            repairs.begin(puller, "Consumer Deleted")
            # The server deletes its folder now, a second after somebody has deleted it.
            await asyncio.sleep(0.7)
        await asyncio.sleep(60)
        await repairs.stop()

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(VirtualClock(0.0))) as runner:
        runner.run(main())
    *_, last_made, first, second, third = topology.asked
    assert (first - last_made, second - first, third - second) == pytest.approx((1, 5, 20))
