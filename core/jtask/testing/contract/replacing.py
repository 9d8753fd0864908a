"""Rules for delayed runs whose message is replaced."""

import asyncio
import time
from dataclasses import replace

from jtask.contract import Message
from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, until, until_instant

_FAR = 3600.0  # seconds; no test waits so long


def changed(message: Message, body: bytes, seconds: float) -> Message:
    """Return what a run is to be from now on: a body, and an instant from now."""
    return replace(message, body=body, at=time.time() + seconds)


class ReplacingContract(Contract):
    """Rules for `RunQueue.replace`."""

    @rule
    async def test_a_replaced_run_comes_once_with_the_last_body_at_the_last_instant(
        self, bench: Bench
    ) -> None:
        worker = await bench.worker("reports", acks=True)
        one, other = await bench.broker(), await bench.broker()
        first = bench.message("reports", at=time.time() + 1.5, priority=3)
        await one.runs.enqueue([first])
        assert await other.runs.replace(changed(first, b"second", _FAR)) is True
        assert await one.runs.replace(last := changed(first, b"third", 2.5)) is True
        delivery = await worker.next()
        assert last.at is not None
        assert time.time() >= last.at
        assert (delivery.run_id, delivery.body) == (first.run_id, b"third")
        assert (delivery.priority, delivery.lost_workers) == (3, 0)
        await one.runs.enqueue([bench.message("reports", at=time.time() + 0.7)])
        await worker.next()
        assert len(worker.ids) == 2

    @rule
    async def test_a_replaced_run_may_come_earlier(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        broker = await bench.broker()
        await broker.runs.enqueue([far := bench.message("reports", at=time.time() + _FAR)])
        assert await broker.runs.replace(changed(far, b"soon", 0.01)) is True
        assert (await worker.next()).body == b"soon"

    @rule
    async def test_a_replaced_run_is_found_and_can_be_cancelled(self, bench: Bench) -> None:
        broker = await bench.broker()
        await broker.runs.enqueue([first := bench.message("reports", at=time.time() + 60)])
        assert await broker.runs.replace(last := changed(first, b"second", _FAR)) is True
        place = await broker.queues.locate(first.run_id)
        assert place is not None
        assert last.at is not None
        assert place.run.at is not None
        assert abs(place.run.at - last.at) < 1.0
        assert (place.run.body, place.in_hand) == (b"second", False)
        (queue,) = await broker.queues.list()
        assert (queue.waiting, queue.executing, queue.delayed) == (0, 0, 1)
        assert await broker.runs.cancel(first.run_id) is True
        assert await broker.runs.replace(changed(first, b"third", _FAR)) is False
        assert await broker.queues.locate(first.run_id) is None

    @rule
    async def test_a_run_that_is_not_delayed_is_not_replaced(self, bench: Bench) -> None:
        broker = await bench.broker()
        message = bench.message("reports")
        assert await broker.runs.replace(changed(message, b"nobody", _FAR)) is False
        assert await broker.queues.locate(message.run_id) is None
        await broker.runs.enqueue([message])
        assert await broker.runs.replace(changed(message, b"waits", _FAR)) is False
        worker = await bench.worker("reports")
        delivery = await worker.next()
        assert delivery.body == message.body
        assert await broker.runs.replace(changed(message, b"in hand", _FAR)) is False
        delivery.ack()

    @rule
    async def test_a_run_that_came_due_is_not_replaced(self, bench: Bench) -> None:
        broker = await bench.broker()
        at = time.time() + 0.7
        await broker.runs.enqueue([message := bench.message("reports", at=at)])
        await until_instant(at + 1)  # a broker may need a moment to see it
        assert await broker.runs.replace(changed(message, b"late", _FAR)) is False
        assert (await (await bench.worker("reports")).next()).body == message.body

    @rule
    async def test_a_run_that_a_worker_had_is_not_replaced(self, bench: Bench) -> None:
        broker = await bench.broker()
        worker = await bench.worker("reports")
        retried, parked = bench.message("reports"), bench.message("reports")
        await broker.runs.enqueue([retried])
        await (await worker.next()).reschedule(time.time() + _FAR, b"attempt 2")
        await broker.runs.enqueue([parked])
        await (await worker.next()).park("database", time.time() + _FAR)
        for message in (retried, parked):
            assert await broker.runs.replace(changed(message, b"anew", _FAR)) is False
        place = await broker.queues.locate(retried.run_id)
        assert place is not None
        assert place.run.body == b"attempt 2"

    @rule
    async def test_a_run_on_another_queue_or_of_another_priority_is_not_replaced(
        self, bench: Bench
    ) -> None:
        broker = await bench.broker()
        await broker.runs.enqueue([message := bench.message("reports", at=time.time() + _FAR)])
        for other in (replace(message, queue="mails"), replace(message, priority=5)):
            assert await broker.runs.replace(changed(other, b"elsewhere", _FAR)) is False
        place = await broker.queues.locate(message.run_id)
        assert place is not None
        assert (place.run.queue, place.run.body) == ("reports", message.body)

    @rule
    async def test_of_many_who_replace_a_run_at_once_each_does_and_it_comes_once(
        self, bench: Bench
    ) -> None:
        worker = await bench.worker("reports", acks=True)
        brokers = [await bench.broker() for _ in range(3)]
        await brokers[0].runs.enqueue([message := bench.message("reports", at=time.time() + 20)])
        bodies = [b"%d" % number for number in range(15)]
        replaced = await asyncio.gather(
            *(
                brokers[number % 3].runs.replace(changed(message, body, 20))
                for number, body in enumerate(bodies)
            )
        )
        assert all(replaced)
        assert await brokers[0].runs.replace(changed(message, b"last", 0.6)) is True
        await until(lambda: worker.ids, "the run is delivered")
        assert [delivery.body for delivery in worker.deliveries] == [b"last"]

    @rule
    async def test_what_replaces_a_run_can_expire(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        broker = await bench.broker()
        await broker.runs.enqueue([message := bench.message("reports", at=time.time() + _FAR)])
        expires = time.time() + 0.6
        soon = replace(changed(message, b"soon", 0.7), expires=expires)
        assert await broker.runs.replace(soon) is True
        assert (await worker.next()).body == b"soon"
