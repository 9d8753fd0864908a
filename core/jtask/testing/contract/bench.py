"""The bench on which a broker is tested: its clients, its workers, and waiting for things."""

import asyncio
import itertools
import math
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from jtask.contract import DEFAULT_PRIORITY, Broker, Consumption, Delivery, Message
from jtask.ids import RunIds
from jtask.settings import get_settings

PATIENCE = 25.0
"""Seconds to wait for what must happen; long, because a test never fails on the clock."""
_PAUSE = 0.01  # seconds between two looks


class Bench:
    """Clients of the broker under test, and what they are given.

    Args:
        open_broker: Opens one more client with a client id.
        environment: Where settings are changed.
    """

    def __init__(
        self,
        open_broker: Callable[[str], Awaitable[Broker]],
        environment: pytest.MonkeyPatch,
    ) -> None:
        self._open_broker = open_broker
        self._environment = environment
        self._brokers: list[Broker] = []
        self._inboxes: list[Inbox] = []
        self._numbers = itertools.count()
        self.run_ids = RunIds()
        """Makes the ids of the runs; its client id is the first client's."""

    def configure(self, **settings: object) -> None:
        """Change settings for the clients that are opened from now on."""
        for name, value in settings.items():
            self._environment.setenv(f"JTASK_{name.upper()}", str(value))
        get_settings.cache_clear()

    async def broker(self) -> Broker:
        """Open one more client."""
        client = RunIds().client if self._brokers else self.run_ids.client
        broker = await self._open_broker(client)
        self._brokers.append(broker)
        return broker

    async def worker(self, *queues: str, credit: int = 10, acks: bool = False) -> "Inbox":
        """Open one more client and let it consume some queues, settling each run if it `acks`."""
        return await self.consume(await self.broker(), *queues, credit=credit, acks=acks)

    async def consume(
        self, broker: Broker, *queues: str, credit: int = 10, acks: bool = False
    ) -> "Inbox":
        """Let a client consume some queues, settling each run if it `acks`."""
        inbox = Inbox(acks=acks)
        inbox.consumption = await broker.runs.consume(queues, credit, inbox.receive)
        self._inboxes.append(inbox)
        return inbox

    def message(
        self,
        queue: str,
        *,
        body: bytes | None = None,
        priority: int = DEFAULT_PRIORITY,
        at: float | None = None,
        expires: float | None = None,
    ) -> Message:
        """Make a new run, with a body of its own if none is given."""
        text = b"body %d" % next(self._numbers) if body is None else body
        return Message(self.run_ids.new(), queue, text, priority, at, expires)

    def messages(self, queue: str, count: int) -> list[Message]:
        """Make some runs of a queue."""
        return [self.message(queue) for _ in range(count)]

    async def close(self) -> None:
        """Close all clients."""
        for inbox in self._inboxes:
            await inbox.consumption.close()
        for broker in self._brokers:
            await broker.close()


class Inbox:
    """What one consumption delivered, in order."""

    consumption: Consumption

    def __init__(self, *, acks: bool) -> None:
        self.deliveries: list[Delivery] = []
        self._acks = acks
        self._next = 0

    def receive(self, delivery: Delivery) -> None:
        """Note a delivery; called by the broker."""
        self.deliveries.append(delivery)
        if self._acks:
            delivery.ack()

    @property
    def ids(self) -> list[str]:
        """The ids of the runs that were delivered, as often as they were."""
        return [delivery.run_id for delivery in self.deliveries]

    async def next(self) -> Delivery:
        """Wait for the next delivery that was not returned yet."""
        await until(lambda: len(self.deliveries) > self._next, "a run is delivered")
        self._next += 1
        return self.deliveries[self._next - 1]

    async def take(self, count: int) -> list[Delivery]:
        """Wait for so many more deliveries."""
        return [await self.next() for _ in range(count)]


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds, and fail the test if it never does."""

    async def holds() -> bool:
        return bool(condition())

    await eventually(holds, what)


async def eventually(condition: Callable[[], Awaitable[object]], what: str) -> None:
    """Wait until a condition that must be asked for holds, and fail the test if it never does."""
    deadline = time.monotonic() + PATIENCE
    while not await condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE:.0f} s in vain until {what}")
        await asyncio.sleep(_PAUSE)


async def until_instant(instant: float) -> None:
    """Wait until an instant has passed, also for a broker that rounds it up to milliseconds."""
    passed = math.ceil(instant * 1000) / 1000
    await until(lambda: time.time() > passed, "an instant has passed")


def ids(messages: Sequence[Message]) -> list[str]:
    """Return the run ids of messages."""
    return [message.run_id for message in messages]
