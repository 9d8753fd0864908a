"""Rules for runs that are parked under a key until somebody wakes them."""

import asyncio
import time
from dataclasses import replace

import pytest

from jtask.contract import Delivery
from jtask.errors import MessageRefused
from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, Inbox, eventually, ids, until_instant

_FAR = 3600.0  # seconds; no test waits so long


class ParkingContract(Contract):
    """Rules for `Delivery.park` and `RunQueue.wake`."""

    @rule
    async def test_a_parked_run_comes_when_it_is_woken_and_not_before(self, bench: Bench) -> None:
        worker = await bench.worker("reports", credit=1)
        broker = await bench.broker()
        await broker.runs.enqueue([message := bench.message("reports", priority=3)])
        await (await worker.next()).park("database", time.time() + _FAR)
        # It takes no credit either.
        await broker.runs.enqueue([other := bench.message("reports")])
        second = await worker.next()
        assert second.run_id == other.run_id
        second.ack()
        assert await broker.runs.wake("database") == 1
        again = await worker.next()
        assert (again.run_id, again.queue) == (message.run_id, "reports")
        assert (again.body, again.priority) == (message.body, 3)
        assert (again.redelivered, again.lost_workers) == (False, 0)

    @rule
    async def test_parked_runs_are_woken_in_the_order_in_which_they_were_parked(
        self, bench: Bench
    ) -> None:
        worker = await bench.worker("reports")
        broker = await bench.broker()
        parked = await self._park(bench, worker, 5)
        assert await broker.runs.wake("database", 2) == 2
        assert {d.run_id for d in await worker.take(2)} == set(parked[:2])
        assert await broker.runs.wake("database", 9) == 3
        assert {d.run_id for d in await worker.take(3)} == set(parked[2:])
        assert await broker.runs.wake("database") == 0

    @rule
    async def test_the_keys_are_known_that_runs_are_parked_under(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        broker = await bench.broker()
        assert await broker.runs.parked_keys("") == set()
        await broker.runs.enqueue([bench.message("reports") for _ in range(4)])
        keys = ["run-1", "run-2", "run-2", "a b.*"]
        for key, delivery in zip(keys, await worker.take(4), strict=True):
            await delivery.park(key, time.time() + _FAR)
        assert await broker.runs.parked_keys("run-") == {"run-1", "run-2"}
        assert await broker.runs.parked_keys("a") == {"a b.*"}
        await broker.runs.wake("run-2", 9)
        assert await broker.runs.parked_keys("run-") == {"run-1"}

    @rule
    async def test_a_woken_run_comes_before_those_that_are_queued_and_keeps_its_priority(
        self, bench: Bench
    ) -> None:
        broker = await bench.broker()
        first = await bench.worker("reports", credit=1)
        await broker.runs.enqueue([message := bench.message("reports", priority=2)])
        await (await first.next()).park("database", time.time() + _FAR)
        await broker.runs.enqueue([in_hand := bench.message("reports")])
        busy = await first.next()
        assert busy.run_id == in_hand.run_id
        await broker.runs.enqueue([bench.message("reports", priority=5) for _ in range(20)])
        assert await broker.runs.wake("database") == 1
        busy.ack()
        # What a pull that stood there has brought already may come before.
        if (woken := await first.next()).run_id != message.run_id:
            woken.ack()
            woken = await first.next()
        assert woken.run_id == message.run_id
        assert (woken.priority, woken.lost_workers) == (2, 0)
        # Queued again, it is one of its own priority.
        await woken.reschedule(0.0, b"again")
        while (again := await first.next()).run_id != message.run_id:
            again.ack()
        assert (again.priority, again.body) == (2, b"again")

    @rule
    async def test_a_run_may_be_parked_from_the_beginning(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        broker = await bench.broker()
        far = time.time() + _FAR
        messages = [
            replace(bench.message("reports", at=far, priority=number), parked_under="database")
            for number in range(3)
        ]
        await broker.runs.enqueue(messages)
        assert await broker.runs.parked("database") == 3
        assert await broker.runs.wake("database", 2) == 2
        woken = {d.run_id: d.priority for d in await worker.take(2)}
        assert woken == {messages[0].run_id: 0, messages[1].run_id: 1}
        with pytest.raises(MessageRefused):
            await broker.runs.enqueue([replace(bench.message("reports"), parked_under="database")])

    @rule
    async def test_a_woken_run_that_is_not_to_be_first_goes_behind_those_on_its_queue(
        self, bench: Bench
    ) -> None:
        broker = await bench.broker()
        worker = await bench.worker("reports", credit=1)
        parked = replace(bench.message("reports", at=time.time() + _FAR), parked_under="database")
        await broker.runs.enqueue([parked])
        await broker.runs.enqueue(queued := bench.messages("reports", 5))
        assert await broker.runs.wake("database", first=False) == 1
        order: list[str] = []
        for _ in range(6):
            delivery = await worker.next()
            order.append(delivery.run_id)
            delivery.ack()
        assert order == [*ids(queued), parked.run_id]

    @rule
    async def test_woken_runs_are_given_a_token_each_in_their_order(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        broker = await bench.broker()
        parked = await self._park(bench, worker, 4)
        tokens = ["one", "é ☃ %20: \\"]
        assert await broker.runs.wake("database", 3, tokens=tokens) == 3
        woken = {d.run_id: d for d in await worker.take(3)}
        assert [woken[run_id].token for run_id in parked[:3]] == [*tokens, None]
        # It is given once.
        await woken[parked[0]].park("elsewhere", time.time() + _FAR)
        assert await broker.runs.wake("elsewhere") == 1
        assert (await worker.next()).token is None
        await woken[parked[1]].reschedule(0.0)
        assert (await worker.next()).token is None

    @rule
    async def test_a_woken_run_shows_its_token_while_it_waits(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        broker = await bench.broker()
        (parked,) = await self._park(bench, worker, 1)
        assert [run.is_parked async for run in broker.queues.waiting("reports")] == [True]
        await broker.queues.pause("reports")
        assert await broker.runs.wake("database", tokens=["one"]) == 1
        waiting = [run async for run in broker.queues.waiting("reports")]
        seen = [(run.run_id, run.token, run.is_parked) for run in waiting]
        assert seen == [(parked, "one", False)]
        found = await broker.queues.find(parked)
        assert found is not None
        assert found.token == "one"

    @rule
    async def test_a_token_is_kept_when_the_worker_is_lost(self, bench: Bench) -> None:
        broker = await bench.broker()
        first = await bench.worker("reports")
        (parked,) = await self._park(bench, first, 1)
        await first.consumption.close()
        assert await broker.runs.wake("database", tokens=["one"]) == 1
        lost = await bench.worker("reports")
        assert (await lost.next()).token == "one"
        await self.lose(lost.consumption)
        heir = await (await bench.worker("reports")).next()
        assert (heir.run_id, heir.token, heir.lost_workers) == (parked, "one", 1)

    @rule
    async def test_parked_runs_are_counted(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        broker = await bench.broker()
        assert await broker.runs.parked("database") == 0
        await self._park(bench, worker, 3)
        assert (await broker.runs.parked("database"), await broker.runs.parked("*")) == (3, 0)
        await broker.runs.wake("database", 2)
        assert await broker.runs.parked("database") == 1

    @rule
    async def test_a_parked_run_that_nobody_wakes_comes_at_its_instant(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        broker = await bench.broker()
        await broker.runs.enqueue([message := bench.message("reports")])
        until = time.time() + 1.0
        await (await worker.next()).park("database", until, b"another body")
        again = await worker.next()
        assert time.time() >= until
        assert (again.run_id, again.body) == (message.run_id, b"another body")
        assert await broker.runs.wake("database") == 0

    @rule
    async def test_runs_under_another_key_sleep_on(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        broker = await bench.broker()
        keys = ["a", "a.b", "*", ">", "=", "é ☃", "x" * 200]
        await broker.runs.enqueue(messages := bench.messages("reports", len(keys)))
        for delivery, key in zip(await worker.take(len(keys)), keys, strict=True):
            await delivery.park(key, time.time() + _FAR)
        assert await broker.runs.wake("nobody") == 0
        woken: list[str] = []
        for key in keys:
            assert await broker.runs.wake(key, 9) == 1
            woken.append((await worker.next()).run_id)
        assert woken == ids(messages)

    @rule
    async def test_two_who_wake_at_once_wake_each_run_once(self, bench: Bench) -> None:
        worker = await bench.worker("reports", credit=100)
        brokers = [await bench.broker() for _ in range(4)]
        parked = await self._park(bench, worker, 20)
        wakes = [broker.runs.wake("database", 3) for broker in brokers for _ in range(5)]
        woken = sum(await asyncio.gather(*wakes))

        async def all_are_woken() -> bool:
            nonlocal woken
            woken += await brokers[0].runs.wake("database", len(parked))
            return woken >= len(parked)

        await eventually(all_are_woken, "all parked runs are woken")
        assert woken == len(parked)
        assert await brokers[0].runs.parked("database") == 0
        await worker.take(len(parked))
        assert sorted(worker.ids[len(parked) :]) == sorted(parked)

    @rule
    async def test_a_parked_run_is_found_counted_and_cancelled(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        broker = await bench.broker()
        (parked,) = await self._park(bench, worker, 1)
        place = await broker.queues.locate(parked)
        assert place is not None
        assert (place.in_hand, place.run.queue) == (False, "reports")
        assert place.run.at is not None
        assert [run.run_id async for run in broker.queues.waiting("reports")] == [parked]
        (queue,) = await broker.queues.list()
        assert (queue.waiting, queue.executing, queue.delayed) == (0, 0, 1)
        assert await broker.runs.cancel(parked) is True
        assert await broker.queues.locate(parked) is None
        assert await broker.runs.wake("database") == 0

    @rule
    async def test_a_run_can_be_parked_again_and_retried(self, bench: Bench) -> None:
        worker = await bench.worker("reports", credit=1)
        broker = await bench.broker()
        await broker.runs.enqueue([message := bench.message("reports")])
        for number in range(3):
            body = b"attempt %d" % number
            await (await worker.next()).park("database", time.time() + _FAR, body)
            assert await broker.runs.wake("database") == 1
        delivery = await worker.next()
        assert delivery.body == b"attempt 2"
        await delivery.reschedule(time.time() + 0.7, b"last")
        last = await worker.next()
        assert (last.run_id, last.body) == (message.run_id, b"last")
        last.ack()
        assert await broker.runs.wake("database") == 0

    @rule
    async def test_losses_are_remembered_when_the_run_is_parked(self, bench: Bench) -> None:
        broker = await bench.broker()
        await broker.runs.enqueue([bench.message("reports")])
        lost = await bench.worker("reports")
        await lost.next()
        await self.lose(lost.consumption)
        heir = await bench.worker("reports")
        await (await heir.next()).park("database", time.time() + _FAR)
        assert await broker.runs.wake("database") == 1
        assert (await heir.next()).lost_workers == 1

    @rule
    async def test_a_run_parked_until_the_past_comes_at_once(self, bench: Bench) -> None:
        worker = await bench.worker("reports", credit=1)
        broker = await bench.broker()
        await broker.runs.enqueue([message := bench.message("reports")])
        past = time.time() - 5
        await (await worker.next()).park("database", past)
        await until_instant(past)
        assert (await worker.next()).run_id == message.run_id

    async def _park(self, bench: Bench, worker: Inbox, count: int) -> list[str]:
        """Park some runs under "database", and return their ids in that order."""
        broker = await bench.broker()
        await broker.runs.enqueue(messages := bench.messages("reports", count))
        by_id: dict[str, Delivery] = {d.run_id: d for d in await worker.take(count)}
        for message in messages:
            await by_id[message.run_id].park("database", time.time() + _FAR)
        return ids(messages)
