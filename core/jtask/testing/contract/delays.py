"""Rules for runs that wait for an instant, and for runs that expire."""

import math
import time

from jtask.contract import HORIZON
from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, ids, until, until_instant


class DelayContract(Contract):
    """Rules for `Message.at` and `Message.expires`."""

    @rule
    async def test_a_delayed_run_comes_at_its_instant_and_not_before(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        at = time.time() + 0.7
        await (await bench.broker()).runs.enqueue([message := bench.message("reports", at=at)])
        delivery = await worker.next()
        assert time.time() >= at
        assert (delivery.run_id, delivery.queue) == (message.run_id, "reports")
        assert (delivery.body, delivery.redelivered) == (message.body, False)

    @rule
    async def test_the_shortest_delay_is_kept_too(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        producer = await bench.broker()
        for delay in (0.001, 0.02, 0.1):
            at = time.time() + delay
            await producer.runs.enqueue([bench.message("reports", at=at)])
            await worker.next()
            assert time.time() >= at

    @rule
    async def test_an_instant_in_the_past_is_now(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        past = bench.message("reports", at=time.time() - 3600)
        await (await bench.broker()).runs.enqueue([past])
        assert (await worker.next()).run_id == past.run_id

    @rule
    async def test_an_instant_beyond_the_horizon_is_far_away(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        far = (HORIZON + 1, 9_223_372_036.9, 1e12, 1e18, math.inf)
        later = [bench.message("reports", at=at, expires=at) for at in far]
        near = bench.message("reports", at=time.time() + 0.7, expires=1e18)
        await (await bench.broker()).runs.enqueue([*later, near])
        assert (await worker.next()).run_id == near.run_id

    @rule
    async def test_delayed_runs_come_in_the_order_of_their_instants(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        now = time.time()
        messages = [bench.message("reports", at=now + delay) for delay in (2.4, 0.4, 1.4)]
        await (await bench.broker()).runs.enqueue(messages)
        await worker.take(3)
        assert worker.ids == [messages[index].run_id for index in (1, 2, 0)]

    @rule
    async def test_a_delayed_run_comes_due_while_nobody_consumes(self, bench: Bench) -> None:
        at = time.time() + 0.5
        await (await bench.broker()).runs.enqueue([message := bench.message("reports", at=at)])
        await until_instant(at)
        worker = await bench.worker("reports")
        assert (await worker.next()).run_id == message.run_id

    @rule
    async def test_a_delayed_run_holds_up_no_other(self, bench: Bench) -> None:
        worker = await bench.worker("reports", credit=1)
        producer = await bench.broker()
        later = [bench.message("reports", at=time.time() + 3600) for _ in range(20)]
        await producer.runs.enqueue([*later, now := bench.message("reports")])
        assert (await worker.next()).run_id == now.run_id

    @rule
    async def test_a_run_that_is_due_in_a_moment_holds_up_none_that_is_due_now(
        self, bench: Bench
    ) -> None:
        worker = await bench.worker("reports", credit=1)
        producer = await bench.broker()
        soon = [bench.message("reports", at=time.time() + 0.4) for _ in range(5)]
        for message in (*soon, now := bench.message("reports")):
            await producer.runs.enqueue([message])
        assert (await worker.next()).run_id == now.run_id

    @rule
    async def test_a_delayed_run_keeps_its_priority(self, bench: Bench) -> None:
        producer = await bench.broker()
        at = time.time() + 0.5
        low = [bench.message("reports", at=at) for _ in range(3)]
        high = [bench.message("reports", at=at, priority=9) for _ in range(3)]
        await producer.runs.enqueue([*low, *high])
        await until_instant(at + 1)  # all are due, and a broker may need a moment to see it
        worker = await bench.worker("reports", credit=1, acks=True)
        await worker.take(6)
        assert sorted(worker.ids[:3]) == ids(high)

    @rule
    async def test_a_delayed_run_stored_twice_comes_once(self, bench: Bench) -> None:
        worker = await bench.worker("reports", acks=True)
        producer = await bench.broker()
        message = bench.message("reports", at=time.time() + 0.5)
        await producer.runs.enqueue([message])
        await producer.runs.enqueue([message])
        await producer.runs.enqueue([last := bench.message("reports", at=time.time() + 1.5)])
        await until(lambda: last.run_id in worker.ids, "the last run is delivered")
        assert worker.ids == [message.run_id, last.run_id]

    @rule
    async def test_a_delayed_run_can_be_cancelled(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        producer = await bench.broker()
        at = time.time() + 1.5
        cancelled, other = (bench.message("reports", at=at) for _ in range(2))
        await producer.runs.enqueue([cancelled, other])
        assert await (await bench.broker()).runs.cancel(cancelled.run_id) is True
        await producer.runs.enqueue([last := bench.message("reports", at=at + 0.5)])
        await worker.take(2)
        assert worker.ids == [other.run_id, last.run_id]

    @rule
    async def test_a_run_that_expires_while_it_waits_is_delivered(self, bench: Bench) -> None:
        producer = await bench.broker()
        expires = time.time() + 1.2
        await producer.runs.enqueue([message := bench.message("reports", expires=expires)])
        await until_instant(expires)
        worker = await bench.worker("reports")
        delivery = await worker.next()
        assert (delivery.run_id, delivery.body) == (message.run_id, message.body)
        assert await producer.queues.depth("reports") == 1

    @rule
    async def test_a_run_that_has_expired_when_it_is_enqueued_is_delivered(
        self, bench: Bench
    ) -> None:
        worker = await bench.worker("reports")
        producer = await bench.broker()
        long_ago = time.time() - 7 * 86_400
        message = bench.message("reports", expires=long_ago)
        delayed = bench.message("reports", at=time.time() + 0.8, expires=long_ago)
        await producer.runs.enqueue([message])
        await producer.runs.enqueue([delayed])
        await worker.take(2)
        assert worker.ids == [message.run_id, delayed.run_id]

    @rule
    async def test_an_expired_run_can_be_cancelled(self, bench: Bench) -> None:
        producer = await bench.broker()
        message = bench.message("reports", expires=time.time() - 1)
        await producer.runs.enqueue([message])
        assert await producer.runs.cancel(message.run_id) is True

    @rule
    async def test_a_run_that_has_not_expired_is_delivered(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        message = bench.message("reports", expires=time.time() + 3600)
        await (await bench.broker()).runs.enqueue([message])
        assert (await worker.next()).run_id == message.run_id

    @rule
    async def test_a_delayed_run_that_expires_before_it_is_taken_is_delivered(
        self, bench: Bench
    ) -> None:
        producer = await bench.broker()
        at = time.time() + 0.5
        message = bench.message("reports", at=at, expires=at + 1.1)
        await producer.runs.enqueue([message])
        await until_instant(at + 1.1)
        worker = await bench.worker("reports")
        assert (await worker.next()).run_id == message.run_id

    @rule
    async def test_a_delayed_run_that_can_expire_comes_in_time(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        at = time.time() + 0.5
        message = bench.message("reports", at=at, expires=at + 3600)
        await (await bench.broker()).runs.enqueue([message])
        assert (await worker.next()).run_id == message.run_id

    @rule
    async def test_a_run_that_started_does_not_expire(self, bench: Bench) -> None:
        producer = await bench.broker()
        worker = await bench.worker("reports")
        expires = time.time() + 1.5
        message = bench.message("reports", expires=expires)
        await producer.runs.enqueue([message])
        await worker.next()
        await until_instant(expires + 0.3)
        await self.lose(worker.consumption)
        heir = await bench.worker("reports")
        assert (await heir.next()).run_id == message.run_id

    @rule
    async def test_a_run_put_off_does_not_expire(self, bench: Bench) -> None:
        producer = await bench.broker()
        worker = await bench.worker("reports")
        expires = time.time() + 1.2
        message = bench.message("reports", expires=expires)
        await producer.runs.enqueue([message])
        await (await worker.next()).reschedule(expires + 0.5)
        assert (await worker.next()).run_id == message.run_id
