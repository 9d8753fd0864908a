"""Set-ups of tests whose workers and client live in the test's own process."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from jtask.client import get_client
from jtask.contract import Broker, Delivery, Event
from jtask.testing import RunningWorker

StartWorker = Callable[..., RunningWorker]  # the fixture `jtask_worker`


@pytest.fixture(params=["jtask_memory", "jtask_nats"])
def on_each_broker(request: pytest.FixtureRequest) -> str:
    """The `jtask_broker` of a file whose tests are to run once on each broker."""
    return str(request.getfixturevalue(request.param))


def on_io(work: Callable[[Broker], Awaitable[Any]]) -> Any:
    """Do something with the client's broker, where its connection lives."""
    client = get_client()

    async def on_its_loop() -> Any:
        return await work(client.broker)

    return client.io.run(on_its_loop())


def lose_workers(queue: str, count: int) -> None:
    """Let the one run of a queue lose some workers, each after the lease of the settings."""

    async def lose(broker: Broker) -> None:
        for _ in range(count):
            taken: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
            consumption = await broker.runs.consume([queue], 1, taken.set_result)
            await taken
            await consumption.close()

    on_io(lose)


def events_of(run_id: str) -> list[Event]:
    """Return what has been written of a run so far, by time."""

    async def read(broker: Broker) -> list[Event]:
        get_client().events.flush()
        return [event async for event in broker.events.read_run(run_id)]

    found: list[Event] = on_io(read)
    return sorted(found, key=lambda event: event.at)


def arguments_blob(run_id: str) -> bytes | None:
    """Return the arguments of a run that are too large for its message, while they are kept."""
    found: bytes | None = on_io(lambda broker: broker.blobs.get(f"{run_id}.args"))
    return found
