"""How long the queues are: observed by one worker for all, whoever has the lease."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from jtask.contract import Broker, QueueInfo
from jtask.errors import BrokerError
from jtask_otel import names

if TYPE_CHECKING:
    from jtask.runtime import WorkerInfo

LEASE = "jtask.otel.depths"
"""The name of the one slot that all workers of an application share."""

LEASE_SECONDS = 30.0
"""So long after the end of the worker that had it, another one takes over."""

LOOK_SECONDS = 5.0
"""Between two looks at the queues."""

_log = logging.getLogger("jtask.worker")


class Depths:
    """What was seen last by the workers of this process; nothing, where another one looks.

    Args:
        meter: Gets the instrument.
    """

    def __init__(self, meter: Meter) -> None:
        self._seen: list[QueueInfo] = []
        meter.create_observable_gauge(
            names.QUEUE_DEPTH, [self._observe], "{run}", "Runs on a queue, by what they wait for."
        )

    def put(self, seen: list[QueueInfo]) -> None:
        """Replace what was seen; nothing, where another worker looks."""
        self._seen = seen

    def _observe(self, _options: CallbackOptions) -> Iterable[Observation]:
        for queue in self._seen:
            for state, count in (
                ("waiting", queue.waiting),
                ("executing", queue.executing),
                ("delayed", queue.delayed),
            ):
                yield Observation(count, {names.QUEUE: queue.name, names.STATE: state})


@asynccontextmanager
async def observed(worker: "WorkerInfo", depths: Depths) -> AsyncGenerator[None]:
    """Look at the queues again and again, until the worker stops.

    Args:
        worker: The worker.
        depths: Where to put what is seen.
    """
    handle = worker.worker
    looking = asyncio.create_task(handle.on_io(_look(handle.broker, worker.name, depths)))
    try:
        yield
    finally:
        depths.put([])
        looking.cancel()
        await asyncio.wait([looking])


async def _look(broker: Broker, holder: str, depths: Depths) -> None:
    token = None
    try:
        while True:
            try:
                token = await broker.slots.acquire(LEASE, holder, 1, LEASE_SECONDS, token=token)
                depths.put([] if token is None else await broker.queues.list())
            except BrokerError as error:  # whoever consumes says so
                depths.put([])
                _log.debug("the queues are not looked at: %s", error)
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        if token is not None:
            with suppress(BrokerError):  # then it is free when its lease is over
                await broker.slots.release(LEASE, token)
