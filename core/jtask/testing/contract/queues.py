"""Rules for storing runs and delivering them."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from jtask.contract import ATOMIC_LIMIT, Delivery, Message, MessageGroup
from jtask.errors import JTaskError
from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, eventually, ids, until


class QueueContract(Contract):
    """Rules for `RunQueue.enqueue`, `consume` and `cancel`, and for `Queues.depth`."""

    @rule
    async def test_a_run_is_delivered_with_what_was_enqueued(self, bench: Bench) -> None:
        message = bench.message("reports", body=b"\x00 any \xff bytes")
        worker = await bench.worker("reports")
        await (await bench.broker()).runs.enqueue([message])
        delivery = await worker.next()
        assert delivery.run_id == message.run_id
        assert delivery.queue == "reports"
        assert delivery.body == b"\x00 any \xff bytes"
        assert (delivery.priority, delivery.redelivered, delivery.lost_workers) == (0, False, 0)

    @rule
    async def test_a_run_waits_for_a_queue_that_nobody_has_consumed_yet(self, bench: Bench) -> None:
        message = bench.message("reports")
        await (await bench.broker()).runs.enqueue([message])
        worker = await bench.worker("reports")
        assert (await worker.next()).run_id == message.run_id

    @rule
    async def test_a_worker_gets_the_runs_of_its_queues_only(self, bench: Bench) -> None:
        await bench.worker("other")
        worker = await bench.worker("reports", "mails")
        await bench.worker("reports-2")
        producer = await bench.broker()
        foreign = [bench.message(queue) for queue in ("other", "reports-2", "report", "mail")]
        own = [bench.message(queue) for queue in ("reports", "mails")]
        await producer.runs.enqueue([*foreign, *own])
        await worker.take(2)
        assert sorted(worker.ids) == ids(own)

    @rule
    async def test_a_queue_may_be_named_with_letters_digits_underscores_and_hyphens(
        self, bench: Bench
    ) -> None:
        queue = "Reports_of-2026"
        worker = await bench.worker(queue)
        await (await bench.broker()).runs.enqueue([bench.message(queue)])
        assert (await worker.next()).queue == queue

    @rule
    async def test_each_run_goes_to_one_of_the_workers_of_a_queue(self, bench: Bench) -> None:
        messages = bench.messages("reports", 200)
        one = await bench.worker("reports", acks=True)
        other = await bench.worker("reports", acks=True)
        await (await bench.broker()).runs.enqueue(messages)
        await until(lambda: len(one.ids) + len(other.ids) >= 200, "all runs are delivered")
        assert sorted(one.ids + other.ids) == ids(messages)

    @rule
    async def test_higher_priorities_are_delivered_first(self, bench: Bench) -> None:
        priorities = [0, 9, 5, 0, 9, 5]
        messages = [bench.message("reports", priority=priority) for priority in priorities]
        await (await bench.broker()).runs.enqueue(messages)
        worker = await bench.worker("reports", credit=1, acks=True)
        await worker.take(6)
        level = {message.run_id: message.priority for message in messages}
        assert [level[run_id] for run_id in worker.ids] == [9, 9, 5, 5, 0, 0]

    @rule
    async def test_priorities_hold_across_the_queues_of_a_worker(self, bench: Bench) -> None:
        low = [bench.message("reports") for _ in range(3)]
        high = [bench.message("mails", priority=7) for _ in range(3)]
        await (await bench.broker()).runs.enqueue([*low, *high])
        worker = await bench.worker("reports", "mails", credit=1, acks=True)
        await worker.take(6)
        assert sorted(worker.ids[:3]) == ids(high)

    @rule
    async def test_a_priority_may_be_used_for_the_first_time_while_a_worker_consumes(
        self, bench: Bench
    ) -> None:
        worker = await bench.worker("reports")
        producer = await bench.broker()
        await producer.runs.enqueue([plain := bench.message("reports")])
        assert (await worker.next()).run_id == plain.run_id
        await producer.runs.enqueue([urgent := bench.message("reports", priority=9)])
        assert (await worker.next()).run_id == urgent.run_id

    @rule
    async def test_no_more_than_the_credit_is_unsettled_at_once(self, bench: Bench) -> None:
        worker = await bench.worker("reports", credit=3)
        await (await bench.broker()).runs.enqueue(bench.messages("reports", 20))
        held = await worker.take(3)
        for settled in range(1, 18):
            held.pop(0).ack()
            held.append(await worker.next())
            assert len(worker.deliveries) - settled <= 3

    @rule
    async def test_the_credit_counts_over_all_queues_and_priorities(self, bench: Bench) -> None:
        worker = await bench.worker("reports", "mails", credit=2)
        messages = [
            bench.message(queue, priority=priority)
            for queue in ("reports", "mails")
            for priority in (0, 5, 9)
        ]
        await (await bench.broker()).runs.enqueue(messages)
        held = await worker.take(2)
        for settled in range(1, 5):
            held.pop(0).ack()
            held.append(await worker.next())
            assert len(worker.deliveries) - settled <= 2

    @rule
    async def test_a_higher_credit_lets_more_runs_come(self, bench: Bench) -> None:
        worker = await bench.worker("reports", credit=1)
        await (await bench.broker()).runs.enqueue(bench.messages("reports", 4))
        await worker.next()
        worker.consumption.set_credit(4)
        await worker.take(3)

    @rule
    async def test_the_credit_may_be_raised_while_a_run_is_received(self, bench: Bench) -> None:
        broker = await bench.broker()
        # More than Python has calls within each other.
        await broker.runs.enqueue(messages := bench.messages("reports", 1200))
        received: list[str] = []
        within = 0

        def receive(delivery: Delivery) -> None:
            nonlocal within
            within += 1
            assert within == 1, "a run was delivered while another one was received"
            received.append(delivery.run_id)
            consumption.set_credit(len(received) + 1)
            within -= 1

        consumption = await broker.runs.consume(["reports"], 0, receive)
        consumption.set_credit(1)
        await until(lambda: len(received) == len(messages), "all runs are delivered")
        await consumption.close()

    @rule
    async def test_a_worker_without_credit_gets_runs_once_it_has_some(self, bench: Bench) -> None:
        worker = await bench.worker("reports", credit=0)
        message = bench.message("reports")
        await (await bench.broker()).runs.enqueue([message])
        other = await bench.worker("mails")
        await (await bench.broker()).runs.enqueue([bench.message("mails")])
        await other.next()
        assert worker.ids == []
        worker.consumption.set_credit(1)
        assert (await worker.next()).run_id == message.run_id

    @rule
    async def test_a_run_stored_twice_is_delivered_once(self, bench: Bench) -> None:
        producer = await bench.broker()
        message = bench.message("reports")
        await producer.runs.enqueue([message])
        await producer.runs.enqueue([message])
        await producer.runs.enqueue([last := bench.message("reports")])
        worker = await bench.worker("reports", acks=True)
        await until(lambda: last.run_id in worker.ids, "the last run is delivered")
        assert worker.ids == [message.run_id, last.run_id]

    @rule
    async def test_a_run_that_was_settled_is_not_stored_again(self, bench: Bench) -> None:
        producer = await bench.broker()
        worker = await bench.worker("reports", acks=True)
        message = bench.message("reports")
        await producer.runs.enqueue([message])
        await worker.next()
        await producer.runs.enqueue([message])
        await producer.runs.enqueue([last := bench.message("reports")])
        await until(lambda: last.run_id in worker.ids, "the last run is delivered")
        assert worker.ids == [message.run_id, last.run_id]

    @rule
    async def test_a_batch_stored_twice_is_delivered_once(self, bench: Bench) -> None:
        producer = await bench.broker()
        batch = bench.messages("reports", 10)
        await producer.runs.enqueue(batch)
        await producer.runs.enqueue(batch)
        await producer.runs.enqueue([last := bench.message("reports")])
        worker = await bench.worker("reports", acks=True)
        await until(lambda: last.run_id in worker.ids, "the last run is delivered")
        assert sorted(worker.ids) == [*ids(batch), last.run_id]

    @rule
    async def test_a_batch_with_a_run_stored_before_stores_the_others(self, bench: Bench) -> None:
        producer = await bench.broker()
        first, second, third = bench.messages("reports", 3)
        await producer.runs.enqueue([first, second])
        await producer.runs.enqueue([second, third])
        worker = await bench.worker("reports", acks=True)
        await until(lambda: third.run_id in worker.ids, "the new run of the batch is delivered")
        assert sorted(worker.ids) == ids([first, second, third])

    @rule
    async def test_a_batch_that_cannot_be_stored_stores_nothing(self, bench: Bench) -> None:
        producer = await bench.broker()
        batch = bench.messages("reports", 5)
        too_big = bench.message("reports", body=bytes(16 * producer.inline_limit))
        with pytest.raises(JTaskError):
            await producer.runs.enqueue([*batch, too_big])
        await producer.runs.enqueue([last := bench.message("reports")])
        worker = await bench.worker("reports")
        await worker.next()
        assert worker.ids == [last.run_id]

    @rule
    async def test_a_batch_of_the_atomic_limit_and_more_is_stored(self, bench: Bench) -> None:
        batch = bench.messages("reports", 2 * ATOMIC_LIMIT + 1)
        await (await bench.broker()).runs.enqueue(batch)
        worker = await bench.worker("reports", credit=200, acks=True)
        await until(lambda: len(worker.ids) >= len(batch), "all runs are delivered")
        assert sorted(worker.ids) == ids(batch)

    @rule
    async def test_a_batch_may_hold_several_queues_priorities_and_times(self, bench: Bench) -> None:
        batch = [
            bench.message("reports"),
            bench.message("mails", priority=4),
            bench.message("mails", at=1.0),
        ]
        await (await bench.broker()).runs.enqueue(batch)
        worker = await bench.worker("reports", "mails")
        await worker.take(3)
        assert sorted(worker.ids) == ids(batch)

    @rule
    async def test_an_empty_batch_is_stored(self, bench: Bench) -> None:
        await (await bench.broker()).runs.enqueue([])

    @rule
    async def test_a_body_of_the_inline_limit_is_delivered_whole(self, bench: Bench) -> None:
        producer = await bench.broker()
        body = bytes(range(256)) * (producer.inline_limit // 256)
        body += bytes(producer.inline_limit - len(body))
        await producer.runs.enqueue([bench.message("reports", body=body)])
        delivery = await (await bench.worker("reports")).next()
        assert delivery.body == body

    @rule
    async def test_a_run_enqueued_from_a_thread_is_stored_on_return(self, bench: Bench) -> None:
        producer = await bench.broker()
        enqueue_from_thread = getattr(producer.runs, "enqueue_from_thread", None)
        if enqueue_from_thread is None:
            pytest.skip("this broker has no shorter way for threads")
        message = bench.message("reports")
        stored = threading.Event()

        def enqueue() -> None:
            enqueue_from_thread(message)
            stored.set()

        threading.Thread(target=enqueue, daemon=True).start()
        await until(stored.is_set, "the thread has stored its run")
        assert await producer.queues.depth("reports") == 1

    @rule
    async def test_a_run_enqueued_from_another_loop_is_stored_on_return(self, bench: Bench) -> None:
        producer = await bench.broker()
        enqueue_from_loop = getattr(producer.runs, "enqueue_from_loop", None)
        if enqueue_from_loop is None:
            pytest.skip("this broker has no shorter way for other loops")
        messages = bench.messages("reports", 20)
        stored = threading.Event()

        async def enqueue() -> None:
            for message in messages:
                await enqueue_from_loop(message)
            stored.set()

        threading.Thread(target=lambda: asyncio.run(enqueue()), daemon=True).start()
        await until(stored.is_set, "the other loop has stored its runs")
        assert await producer.queues.depth("reports") == 20

    @rule
    async def test_runs_prepared_in_a_thread_are_stored_once_they_are_finished(
        self, bench: Bench
    ) -> None:
        producer = await bench.broker()
        prepare_enqueue = getattr(producer.runs, "prepare_enqueue", None)
        if prepare_enqueue is None:
            pytest.skip("this broker prepares nothing in a thread")
        first, last = bench.messages("reports", 1)[0], _group(bench.messages("reports", 20))
        # Before anything is there, a broker may have to look at it first.
        await producer.runs.enqueue([first])
        ready = await asyncio.to_thread(prepare_enqueue, last)
        assert ready is not None
        await asyncio.to_thread(ready.begin)
        await ready.finish()
        assert await producer.queues.depth("reports") == 21
        # Also by who has not begun before; and once only.
        again = await asyncio.to_thread(prepare_enqueue, last)
        await again.finish()
        assert await producer.queues.depth("reports") == 21

    @rule
    async def test_a_group_of_messages_is_delivered_as_its_messages_are(self, bench: Bench) -> None:
        producer, messages = await bench.broker(), bench.messages("reports", 5)
        await producer.runs.enqueue(_group(messages))
        await producer.runs.enqueue(_group(messages))
        worker = await bench.worker("reports", credit=10)
        taken = await worker.take(5)
        assert [(it.run_id, it.body) for it in taken] == [(it.run_id, it.body) for it in messages]
        assert await producer.queues.depth("reports") == 5

    @rule
    async def test_the_depth_counts_runs_that_wait_and_runs_in_hand(self, bench: Bench) -> None:
        producer = await bench.broker()
        await producer.runs.enqueue(bench.messages("reports", 5))
        await producer.runs.enqueue(bench.messages("mails", 3))
        assert await producer.queues.depth("reports") == 5
        worker = await bench.worker("reports", credit=2)
        first, _ = await worker.take(2)
        assert await producer.queues.depth("reports") == 5
        first.ack()

        async def one_less() -> bool:
            return await producer.queues.depth("reports") == 4

        await eventually(one_less, "the settled run is not counted any more")

    @rule
    async def test_a_queue_that_nobody_has_named_is_empty(self, bench: Bench) -> None:
        assert await (await bench.broker()).queues.depth("nothing") == 0

    @rule
    async def test_a_waiting_run_can_be_cancelled(self, bench: Bench) -> None:
        producer = await bench.broker()
        cancelled, kept = bench.messages("reports", 2)
        await producer.runs.enqueue([cancelled, kept])
        assert await (await bench.broker()).runs.cancel(cancelled.run_id) is True
        worker = await bench.worker("reports")
        await worker.next()
        assert worker.ids == [kept.run_id]
        assert await producer.queues.depth("reports") == 1

    @rule
    async def test_a_run_in_hand_cannot_be_cancelled(self, bench: Bench) -> None:
        producer = await bench.broker()
        worker = await bench.worker("reports")
        await producer.runs.enqueue([message := bench.message("reports")])
        delivery = await worker.next()
        assert await producer.runs.cancel(message.run_id) is False
        delivery.ack()

    @rule
    async def test_a_run_that_is_not_there_cannot_be_cancelled(self, bench: Bench) -> None:
        producer = await bench.broker()
        await producer.runs.enqueue([message := bench.message("reports")])
        assert await producer.runs.cancel(bench.run_ids.new()) is False
        assert await producer.runs.cancel(message.run_id) is True
        assert await producer.runs.cancel(message.run_id) is False

    @rule
    async def test_a_worker_that_can_consume_has_no_problem(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        await (await bench.broker()).runs.enqueue([bench.message("reports")])
        await worker.next()
        assert worker.consumption.problem() is None

    @rule
    async def test_the_url_of_a_broker_shows_no_credentials(self, bench: Bench) -> None:
        assert "@" not in (await bench.broker()).url


def _group(messages: Sequence[Message]) -> MessageGroup:
    bodies = [message.body for message in messages]
    return MessageGroup([message.run_id for message in messages], bodies, messages[0].queue)
