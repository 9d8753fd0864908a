"""What a worker does with runs that it cannot execute, and what it waits for when it stops."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jtask.contract import Broker, Delivery
from jtask.execution.dispositions import Requeue, StoreOutcome
from jtask.execution.job import Job
from jtask.worker.departures import Departures
from jtask.worker.sent_outcomes import SentOutcome
from jtask.worker.settlement import Settlement
from jtask.worker.unknown_tasks import unknown_task_seconds


class SlowResults:
    """Stores an outcome when it is told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def put(self, record: Any) -> bool:
        del record
        await self.go_on.wait()
        return True


class SlowBroker:
    blobs = runs = None

    def __init__(self) -> None:
        self.results = SlowResults()


class Unreadable:
    run_id, queue, body, priority, problem = "a-run", "a-queue", b"nonsense", 5, "no envelope"

    def __init__(self) -> None:
        self.reasons: list[str] = []

    async def dead_letter(self, reason: str, body: bytes) -> None:
        del body
        self.reasons.append(reason)


class NoEvents:
    def add(self, event: Any) -> None:
        """Keep none."""


def settlement_at(broker: Any, on_held_up: Callable[[int], None] = abs) -> Settlement:
    departures = Departures(on_held_up)
    return Settlement(cast("Broker", broker), cast("Any", NoEvents()), "a-worker", departures)


def test_a_message_that_is_being_rejected_is_waited_for_until_it_is_a_dead_letter() -> None:
    async def reject() -> None:
        broker, delivery = SlowBroker(), Unreadable()
        settlement = settlement_at(broker)
        assert settlement.rejections.accept(cast("Delivery", delivery)) is None
        waiting = asyncio.create_task(settlement.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        broker.results.go_on.set()
        await waiting
        assert delivery.reasons == ["the message cannot be read: no envelope"]

    asyncio.run(reject())


class Delivered:
    run_id, queue, body = "a-run", "a-queue", b""

    def ack(self) -> None:
        """Take it off its queue."""


def job(delivery: Delivered | None = None) -> Job:
    envelope, task = SimpleNamespace(blob=None), SimpleNamespace()
    return Job(
        cast("Any", delivery or Delivered()), cast("Any", envelope), cast("Any", task), received=0.0
    )


def test_runs_that_end_with_one_that_is_stored_already_are_waited_for() -> None:
    async def settle() -> None:
        broker, end = SlowBroker(), StoreOutcome(b"{}")
        settlement = settlement_at(broker)
        settlement._end_news.is_heard = False  # nobody waits for them
        stored = SentOutcome()
        stored.answered(True)
        settlement.settle_all([(job(), end, stored), (job(), end, None)])
        waiting = asyncio.create_task(settlement.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        broker.results.go_on.set()
        await waiting
        assert settlement.unsettled == set()

    asyncio.run(settle())


class Rescheduled(Delivered):
    """Is queued again when it is told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def reschedule(self, at: float, body: bytes) -> None:
        del at, body
        await self.go_on.wait()


def test_a_run_that_cannot_be_queued_again_counts_as_held_up_until_it_is() -> None:
    async def requeue() -> None:
        changes: asyncio.Queue[int] = asyncio.Queue()
        settlement = settlement_at(SlowBroker(), changes.put_nowait)
        delivery = Rescheduled()
        settlement.settle(job(delivery), Requeue(0.0, b"{}"))
        assert await changes.get() == 1
        assert changes.empty()
        delivery.go_on.set()
        await settlement.wait()
        assert changes.get_nowait() == -1
        assert changes.empty()

    asyncio.run(requeue())


def test_a_run_that_leaves_at_once_is_never_held_up() -> None:
    async def requeue() -> None:
        changes: list[int] = []
        settlement = settlement_at(SlowBroker(), changes.append)
        delivery = Rescheduled()
        delivery.go_on.set()
        settlement.settle(job(delivery), Requeue(0.0, b"{}"))
        await settlement.wait()
        assert changes == []

    asyncio.run(requeue())


@pytest.mark.parametrize(
    ("age", "pause"),
    [(-60.0, 10.0), (0.0, 10.0), (9.0, 10.0), (60.0, 60.0), (299.0, 299.0), (1e9, 300.0)],
)
def test_the_longer_a_run_has_waited_the_longer_it_is_put_back(age: float, pause: float) -> None:
    assert unknown_task_seconds(age) == pause


def test_twenty_thousand_runs_that_nobody_serves_come_back_seldom() -> None:
    deliveries, age = 0, 0.0
    while age < 86_400:
        age += unknown_task_seconds(age)
        deliveries += 1
    # A day of them; every ten seconds that would be 8,640.
    assert deliveries < 300
