"""Rules for looking into the queues."""

import time

from jtask.contract import Broker, QueueInfo, RunPlace, WaitingRun
from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, eventually, ids, until_instant


class QueueStateContract(Contract):
    """Rules for `Queues.list`, `waiting`, `find` and `locate`."""

    @rule
    async def test_there_are_no_queues_and_no_runs_at_first(self, bench: Bench) -> None:
        broker = await bench.broker()
        assert await broker.queues.list() == []
        assert await _waiting(broker) == []

    @rule
    async def test_queues_that_nobody_serves_are_listed_with_their_runs(self, bench: Bench) -> None:
        producer = await bench.broker()
        later = time.time() + 3600
        await producer.runs.enqueue(bench.messages("reports", 3))
        await producer.runs.enqueue([bench.message("mails", priority=7), bench.message("mails")])
        await producer.runs.enqueue([bench.message("mails", at=later) for _ in range(4)])
        await producer.runs.enqueue([bench.message("calls", at=later)])
        assert await producer.queues.list() == [
            QueueInfo("calls", waiting=0, executing=0, delayed=1, pause=None),
            QueueInfo("mails", waiting=2, executing=0, delayed=4, pause=None),
            QueueInfo("reports", waiting=3, executing=0, delayed=0, pause=None),
        ]

    @rule
    async def test_runs_in_hand_are_executing(self, bench: Bench) -> None:
        producer = await bench.broker()
        later = time.time() + 3600
        urgent = [bench.message("reports", priority=9) for _ in range(2)]
        await producer.runs.enqueue([*urgent, *bench.messages("reports", 3)])
        await producer.runs.enqueue([bench.message("reports", at=later), bench.message("mails")])
        worker = await bench.worker("reports", credit=3)
        first, _, _ = await worker.take(3)
        assert await producer.queues.list() == [
            QueueInfo("mails", waiting=1, executing=0, delayed=0, pause=None),
            QueueInfo("reports", waiting=2, executing=3, delayed=1, pause=None),
        ]
        worker.consumption.set_credit(0)
        first.ack()

        async def one_less() -> bool:
            return (await producer.queues.list())[1][1:4] == (2, 2, 1)

        await eventually(one_less, "the settled run is not counted any more")

    @rule
    async def test_a_queue_that_is_served_is_listed_even_when_it_is_empty(
        self, bench: Bench
    ) -> None:
        broker = await bench.broker()
        await bench.worker("reports")
        expected = [QueueInfo("reports", waiting=0, executing=0, delayed=0, pause=None)]

        async def listed() -> bool:
            return await broker.queues.list() == expected

        await eventually(listed, "the served queue is listed")

    @rule
    async def test_a_queue_that_is_paused_is_listed_even_when_nobody_has_used_it(
        self, bench: Bench
    ) -> None:
        broker = await bench.broker()
        await broker.queues.pause("reports", time.time() + 3600)
        [info] = await broker.queues.list()
        assert info[:4] == ("reports", 0, 0, 0)
        assert info.pause is not None

    @rule
    async def test_a_run_that_has_come_due_is_not_delayed_any_more(self, bench: Bench) -> None:
        producer = await bench.broker()
        at = time.time() + 0.7
        await producer.runs.enqueue([message := bench.message("reports", at=at)])
        assert (await producer.queues.list())[0][1:4] == (0, 0, 1)

        async def due() -> bool:
            return (await producer.queues.list())[0][1:4] == (1, 0, 0)

        await eventually(due, "the run waits")
        await until_instant(at)
        assert await _waiting(producer) == [
            WaitingRun(message.run_id, "reports", None, message.body)
        ]

    @rule
    async def test_waiting_and_delayed_runs_are_shown_oldest_first(self, bench: Bench) -> None:
        producer = await bench.broker()
        at = time.time() + 3600
        messages = [
            bench.message("reports", body=b"\x00 any \xff bytes"),
            bench.message("mails", at=at),
            bench.message("reports", priority=9),
            bench.message("reports", at=at + 60),
            bench.message("mails"),
        ]
        for message in messages:
            await producer.runs.enqueue([message])
        shown = await _waiting(producer)
        assert [run[:2] for run in shown] == [(one.run_id, one.queue) for one in messages]
        assert [run.body for run in shown] == [one.body for one in messages]
        for run, message in zip(shown, messages, strict=True):
            assert (run.at is None) == (message.at is None)
            assert run.at is None or abs(run.at - (message.at or 0)) < 0.01

    @rule
    async def test_the_runs_of_one_queue_can_be_shown_alone(self, bench: Bench) -> None:
        producer = await bench.broker()
        await producer.runs.enqueue([*bench.messages("reports-1", 2), bench.message("mails")])
        await producer.runs.enqueue([own := bench.message("reports", at=time.time() + 3600)])
        assert [run.run_id for run in await _waiting(producer, "reports")] == [own.run_id]
        assert await _waiting(producer, "nothing") == []

    @rule
    async def test_showing_runs_takes_none_of_them(self, bench: Bench) -> None:
        producer = await bench.broker()
        await producer.runs.enqueue(messages := bench.messages("reports", 3))
        assert len(await _waiting(producer)) == 3
        worker = await bench.worker("reports")
        deliveries = await worker.take(3)
        assert worker.ids == ids(messages)
        assert [delivery.redelivered for delivery in deliveries] == [False] * 3

    @rule
    async def test_runs_in_hand_are_not_waiting(self, bench: Bench) -> None:
        producer = await bench.broker()
        await producer.runs.enqueue(messages := bench.messages("reports", 5))
        worker = await bench.worker("reports", credit=2)
        settled, _ = await worker.take(2)
        assert [run.run_id for run in await _waiting(producer)] == ids(messages[2:])
        worker.consumption.set_credit(0)
        settled.ack()
        assert [run.run_id for run in await _waiting(producer)] == ids(messages[2:])

    @rule
    async def test_a_run_handed_back_waits_again(self, bench: Bench) -> None:
        producer = await bench.broker()
        await producer.runs.enqueue(messages := bench.messages("reports", 2))
        worker = await bench.worker("reports", credit=1)
        delivery = await worker.next()
        worker.consumption.set_credit(0)
        await delivery.release()
        await worker.consumption.stop()

        async def shown() -> bool:
            return sorted(run.run_id for run in await _waiting(producer)) == ids(messages)

        await eventually(shown, "both runs wait")

    @rule
    async def test_a_run_put_off_is_shown_with_its_new_instant_and_body(self, bench: Bench) -> None:
        producer = await bench.broker()
        worker = await bench.worker("reports")
        await producer.runs.enqueue([message := bench.message("reports")])
        at = time.time() + 3600
        await (await worker.next()).reschedule(at, b"again")

        async def shown() -> bool:
            return len(await _waiting(producer)) == 1

        await eventually(shown, "only the run that was put off waits")
        [run] = await _waiting(producer)
        assert (run.run_id, run.queue, run.body) == (message.run_id, "reports", b"again")
        assert abs((run.at or 0) - at) < 0.01

    @rule
    async def test_a_run_that_waits_or_is_delayed_is_found_by_its_id(self, bench: Bench) -> None:
        producer = await bench.broker()
        at = time.time() + 3600
        waiting, delayed = bench.message("reports", priority=9), bench.message("mails", at=at)
        await producer.runs.enqueue([waiting, delayed])
        reader = await bench.broker()
        run = WaitingRun(waiting.run_id, "reports", None, waiting.body)
        assert await reader.queues.find(waiting.run_id) == run
        found = await reader.queues.find(delayed.run_id)
        assert found is not None
        assert (found.run_id, found.queue) == (delayed.run_id, "mails")
        assert found.body == delayed.body
        assert abs((found.at or 0) - at) < 0.01

    @rule
    async def test_a_run_that_is_not_there_is_not_found(self, bench: Bench) -> None:
        producer = await bench.broker()
        assert await producer.queues.find(bench.run_ids.new()) is None
        await producer.runs.enqueue([message := bench.message("reports")])
        await producer.runs.cancel(message.run_id)
        assert await producer.queues.find(message.run_id) is None

    @rule
    async def test_a_run_on_a_queue_is_located_wherever_it_is(self, bench: Bench) -> None:
        producer, reader = await bench.broker(), await bench.broker()
        at = time.time() + 3600
        held, waiting = bench.messages("reports", 2)
        delayed = bench.message("mails", priority=3, at=at)
        await producer.runs.enqueue([held, waiting, delayed])
        run = WaitingRun(held.run_id, "reports", None, held.body)
        assert await reader.queues.locate(held.run_id) == RunPlace(run, in_hand=False)
        place = await reader.queues.locate(delayed.run_id)
        assert place is not None
        assert (place.run.queue, place.run.body, place.in_hand) == ("mails", delayed.body, False)
        assert abs((place.run.at or 0) - at) < 0.01
        worker = await bench.worker("reports", credit=1)
        delivery = await worker.next()
        assert await reader.queues.locate(held.run_id) == RunPlace(run, in_hand=True)
        still = WaitingRun(waiting.run_id, "reports", None, waiting.body)
        assert await reader.queues.locate(waiting.run_id) == RunPlace(still, in_hand=False)
        worker.consumption.set_credit(0)
        delivery.ack()

        async def gone() -> bool:
            return await reader.queues.locate(held.run_id) is None

        await eventually(gone, "the settled run is on no queue")

    @rule
    async def test_a_run_put_off_is_located_with_its_new_instant(self, bench: Bench) -> None:
        producer = await bench.broker()
        worker = await bench.worker("reports")
        await producer.runs.enqueue([message := bench.message("reports")])
        at = time.time() + 3600
        await (await worker.next()).reschedule(at, b"again")
        place = await producer.queues.locate(message.run_id)
        assert place is not None
        assert (place.run.queue, place.run.body, place.in_hand) == ("reports", b"again", False)
        assert abs((place.run.at or 0) - at) < 0.01

    @rule
    async def test_a_run_that_is_on_no_queue_is_not_located(self, bench: Bench) -> None:
        producer = await bench.broker()
        assert await producer.queues.locate(bench.run_ids.new()) is None
        await producer.runs.enqueue([message := bench.message("reports")])
        await producer.runs.cancel(message.run_id)
        assert await producer.queues.locate(message.run_id) is None

    @rule
    async def test_however_many_runs_wait_all_are_shown_once(self, bench: Bench) -> None:
        producer = await bench.broker()
        later = time.time() + 3600
        now, delayed = (
            bench.messages("reports", 1200),
            [bench.message("mails", at=later) for _ in range(600)],
        )
        await producer.runs.enqueue(now)
        await producer.runs.enqueue(delayed)
        shown = await _waiting(producer)
        assert sorted(run.run_id for run in shown) == ids([*now, *delayed])
        assert [info[1:4] for info in await producer.queues.list()] == [(0, 0, 600), (1200, 0, 0)]


async def _waiting(broker: Broker, queue: str | None = None) -> list[WaitingRun]:
    return [run async for run in broker.queues.waiting(queue)]
