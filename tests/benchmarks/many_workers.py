"""Many small workers in one process: `many_workers.py QUEUE COUNT`, until SIGTERM.

Each has a connection of its own, consumes the queue with a credit of 10, and settles what it gets
as a worker does: it stores an outcome, then acks.
"""

import asyncio
import os
import signal
import sys

from jtask.contract import Delivery, OutcomeRecord
from jtask.ids import RunIds
from jtask.lease_guard import LeaseGuard
from jtask_nats.broker import NatsBroker
from jtask_nats.opening import open_own

_CREDIT = 10


class SmallWorker:
    """Settles each run as soon as it comes."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker
        self._settling: set[asyncio.Task[None]] = set()

    def receive(self, delivery: Delivery) -> None:
        """Take a delivery."""
        task = asyncio.create_task(self._settle(delivery))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settle(self, delivery: Delivery) -> None:
        await self._broker.results.put(OutcomeRecord(delivery.run_id, b"done"))
        delivery.ack()


async def _main(queue: str, count: int) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    for _ in range(count):
        broker = await open_own(RunIds().client)
        await broker.runs.consume([queue], _CREDIT, SmallWorker(broker).receive)
    print("ready", flush=True)
    await ended.wait()
    os._exit(0)


if __name__ == "__main__":
    # A process of its own for each worker would be most of what is measured.
    LeaseGuard.start = lambda self: None  # type: ignore[method-assign]
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
