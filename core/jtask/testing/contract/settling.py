"""Rules for settling deliveries, and for workers that stop."""

import asyncio
import time

import pytest

from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, eventually, ids, until, until_instant


class SettlingContract(Contract):
    """Rules for `Delivery`, `Consumption.stop` and the end of a client."""

    @rule
    async def test_an_acked_run_is_off_the_queue(self, bench: Bench) -> None:
        producer = await bench.broker()
        worker = await bench.worker("reports", acks=True)
        await producer.runs.enqueue(bench.messages("reports", 3))
        await worker.take(3)

        async def empty() -> bool:
            return await producer.queues.depth("reports") == 0

        await eventually(empty, "the queue is empty")

    @rule
    async def test_an_ack_just_before_the_client_closes_is_not_lost(self, bench: Bench) -> None:
        producer = await bench.broker()
        leaving = await bench.broker()
        worker = await bench.consume(leaving, "reports")
        await producer.runs.enqueue([bench.message("reports")])
        (await worker.next()).ack()
        await leaving.close()

        async def empty() -> bool:
            return await producer.queues.depth("reports") == 0

        await eventually(empty, "the queue is empty")

    @rule
    async def test_runs_of_several_queues_are_acked_together(self, bench: Bench) -> None:
        broker = await bench.broker()
        ack_many = getattr(broker.runs, "ack_many", None)
        if ack_many is None:
            pytest.skip("it acks one run after the other")
        inbox = await bench.consume(broker, "reports", "letters", credit=20)
        await broker.runs.enqueue(bench.messages("reports", 8))
        await broker.runs.enqueue(bench.messages("letters", 8))
        deliveries = await inbox.take(16)
        await deliveries.pop().release()
        again = await inbox.next()
        deliveries[3].ack()
        ack_many([*deliveries, again, again])

        async def empty() -> bool:
            queues = broker.queues
            return await queues.depth("reports") + await queues.depth("letters") == 0

        await eventually(empty, "the queues are empty")
        await broker.runs.enqueue(bench.messages("reports", 20))
        await inbox.take(20)  # nothing counts against the credit any more

    @rule
    async def test_a_run_handed_back_is_delivered_again_and_counted(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        await (await bench.broker()).runs.enqueue([message := bench.message("reports")])
        await (await worker.next()).release()
        again = await worker.next()
        assert (again.run_id, again.body) == (message.run_id, message.body)
        assert (again.redelivered, again.lost_workers) == (True, 0)

    @rule
    async def test_a_run_handed_back_reaches_another_worker(self, bench: Bench) -> None:
        unwilling = await bench.worker("reports", credit=1)
        await (await bench.broker()).runs.enqueue([message := bench.message("reports")])
        delivery = await unwilling.next()
        willing = await bench.worker("reports", credit=1)
        await delivery.release()
        handed_back = 1
        while not willing.deliveries:
            await until(
                lambda: willing.deliveries or len(unwilling.deliveries) > handed_back,  # noqa: B023 - awaited at once
                "the run is delivered again",
            )
            if len(unwilling.deliveries) > handed_back:
                await unwilling.deliveries[handed_back].release()
                handed_back += 1
        assert willing.ids == [message.run_id]

    @rule
    async def test_a_run_put_off_comes_again_at_its_instant_and_not_before(
        self, bench: Bench
    ) -> None:
        worker = await bench.worker("reports")
        await (await bench.broker()).runs.enqueue([message := bench.message("reports")])
        first = await worker.next()
        at = time.time() + 0.7
        await first.reschedule(at)
        again = await worker.next()
        assert time.time() >= at
        assert (again.run_id, again.queue, again.body) == (message.run_id, "reports", message.body)

    @rule
    async def test_a_run_put_off_may_have_a_new_body(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        await (await bench.broker()).runs.enqueue([bench.message("reports", body=b"attempt 1")])
        await (await worker.next()).reschedule(time.time() + 0.3, b"attempt 2")
        assert (await worker.next()).body == b"attempt 2"

    @rule
    async def test_a_run_put_off_to_the_past_comes_again_at_once(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        await (await bench.broker()).runs.enqueue([message := bench.message("reports")])
        await (await worker.next()).reschedule(time.time() - 5)
        assert (await worker.next()).run_id == message.run_id

    @rule
    async def test_a_run_put_off_is_a_new_message_whose_deliveries_count_anew(
        self, bench: Bench
    ) -> None:
        worker = await bench.worker("reports")
        await (await bench.broker()).runs.enqueue([bench.message("reports")])
        await (await worker.next()).release()
        second = await worker.next()
        assert second.redelivered
        await second.reschedule(time.time() + 0.3)
        assert not (await worker.next()).redelivered

    @rule
    async def test_a_run_may_be_put_off_again_and_again(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        await (await bench.broker()).runs.enqueue([bench.message("reports", body=b"attempt 1")])
        for attempt in (2, 3, 4, 5):
            delivery = await worker.next()
            await delivery.reschedule(time.time() + 0.05 * attempt, b"attempt %d" % attempt)
        assert (await worker.next()).body == b"attempt 5"
        assert len(worker.deliveries) == 5

    @rule
    async def test_a_run_put_off_comes_once_though_its_worker_is_lost(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        producer = await bench.broker()
        await producer.runs.enqueue([bench.message("reports", body=b"attempt 1")])
        await (await worker.next()).reschedule(time.time() + 0.5, b"attempt 2")
        await self.lose(worker.consumption)
        heir = await bench.worker("reports", acks=True)
        # Later than the lease of the first delivery, which must not bring it again.
        last = bench.message("reports", at=time.time() + 2.5)
        await producer.runs.enqueue([last])
        await until(lambda: last.run_id in heir.ids, "the last run is delivered")
        assert [delivery.body for delivery in heir.deliveries] == [b"attempt 2", last.body]

    @rule
    async def test_a_run_put_off_keeps_its_priority(self, bench: Bench) -> None:
        leaving = await bench.worker("reports")
        producer = await bench.broker()
        await producer.runs.enqueue([urgent := bench.message("reports", priority=9)])
        at = time.time() + 0.5
        await (await leaving.next()).reschedule(at)
        await leaving.consumption.close()
        await producer.runs.enqueue(bench.messages("reports", 3))
        await until_instant(at + 1)  # it is due, and a broker may need a moment to see it
        worker = await bench.worker("reports", credit=1)
        assert (await worker.next()).run_id == urgent.run_id

    @rule
    async def test_a_run_put_off_can_be_cancelled(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        producer = await bench.broker()
        await producer.runs.enqueue([message := bench.message("reports")])
        at = time.time() + 1.5
        await (await worker.next()).reschedule(at)
        assert await producer.runs.cancel(message.run_id) is True
        await producer.runs.enqueue([last := bench.message("reports", at=at + 0.5)])
        assert (await worker.next()).run_id == last.run_id

    @rule
    async def test_a_stopped_worker_gets_nothing_more(self, bench: Bench) -> None:
        stopping = await bench.worker("reports")
        producer = await bench.broker()
        await producer.runs.enqueue([first := bench.message("reports")])
        await stopping.next()
        await stopping.consumption.stop()
        later = bench.messages("reports", 5)
        await producer.runs.enqueue(later)
        heir = await bench.worker("reports")
        await heir.take(5)
        assert stopping.ids == [first.run_id]
        assert sorted(heir.ids) == ids(later)

    @rule
    async def test_a_stopped_worker_may_still_settle_what_it_holds(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        producer = await bench.broker()
        await producer.runs.enqueue(bench.messages("reports", 2))
        one, other = await worker.take(2)
        await worker.consumption.stop()
        one.ack()
        await other.reschedule(time.time() + 3600)

        async def empty() -> bool:
            return await producer.queues.depth("reports") == 0

        await eventually(empty, "both runs are off the queue")

    @rule
    async def test_what_a_stopping_worker_has_not_received_goes_to_another(
        self, bench: Bench
    ) -> None:
        producer = await bench.broker()
        messages = bench.messages("reports", 300)
        stopping = await bench.worker("reports", credit=20, acks=True)
        await producer.runs.enqueue(messages)
        await stopping.next()
        await stopping.consumption.stop()
        heir = await bench.worker("reports", acks=True)
        await until(
            lambda: len(stopping.ids) + len(heir.ids) >= len(messages), "all runs are delivered"
        )
        assert sorted(stopping.ids + heir.ids) == ids(messages)

    @rule
    async def test_a_closed_client_leaves_no_task_on_its_loop(self, bench: Bench) -> None:
        before = asyncio.all_tasks()
        leaving = await bench.broker()
        worker = await bench.consume(leaving, "reports", acks=True)
        await leaving.results.watch(bench.run_ids.client, lambda _: None, lambda: None)
        await leaving.runs.enqueue([bench.message("reports")])
        await worker.next()
        await leaving.close()
        await until(lambda: asyncio.all_tasks() <= before, "all tasks of the client have ended")

    @rule
    async def test_a_client_may_be_closed_twice(self, bench: Bench) -> None:
        broker = await bench.broker()
        await broker.close()
        await broker.close()
