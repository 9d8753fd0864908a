"""Rules for holding queues up."""

import time

from jtask.contract import Broker, Pause
from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, Inbox, ids, until_instant


class PauseContract(Contract):
    """Rules for `Queues.pause` and `resume`."""

    @rule
    async def test_nothing_of_a_paused_queue_is_delivered_until_it_is_resumed(
        self, bench: Bench
    ) -> None:
        producer, operator = await bench.broker(), await bench.broker()
        worker = await bench.worker("reports")
        await operator.queues.pause("reports")
        await producer.runs.enqueue(messages := bench.messages("reports", 5))
        await _let_time_pass(bench, producer)
        assert worker.ids == []
        assert await producer.queues.depth("reports") == 5
        assert await operator.queues.resume("reports") is True
        await worker.take(5)
        assert sorted(worker.ids) == ids(messages)

    @rule
    async def test_a_pause_holds_for_a_worker_that_comes_later(self, bench: Bench) -> None:
        producer = await bench.broker()
        await producer.runs.enqueue(bench.messages("reports", 3))
        await bench.worker("other", acks=True)
        await producer.queues.pause("reports")
        worker = await bench.worker("reports")
        await _let_time_pass(bench, producer)
        assert worker.ids == []
        await producer.queues.resume("reports")
        await worker.take(3)

    @rule
    async def test_a_queue_that_nobody_has_named_can_be_paused(self, bench: Bench) -> None:
        operator, producer = await bench.broker(), await bench.broker()
        await operator.queues.pause("reports")
        await producer.runs.enqueue([message := bench.message("reports")])
        worker = await bench.worker("reports")
        await _let_time_pass(bench, producer)
        assert worker.ids == []
        assert await producer.queues.resume("reports") is True
        assert (await worker.next()).run_id == message.run_id

    @rule
    async def test_a_pause_holds_for_every_priority_old_and_new(self, bench: Bench) -> None:
        producer = await bench.broker()
        worker = await bench.worker("reports")
        await producer.runs.enqueue([bench.message("reports", priority=5)])
        (await worker.next()).ack()
        await producer.queues.pause("reports")
        messages = [bench.message("reports", priority=priority) for priority in (0, 5, 9)]
        await producer.runs.enqueue(messages)
        await _let_time_pass(bench, producer)
        assert len(worker.ids) == 1
        await producer.queues.resume("reports")
        await worker.take(3)
        assert sorted(worker.ids[1:]) == ids(messages)

    @rule
    async def test_a_pause_ends_at_its_instant_and_not_before(self, bench: Bench) -> None:
        producer = await bench.broker()
        worker = await bench.worker("reports")
        until = time.time() + 1.5
        await producer.queues.pause("reports", until)
        await producer.runs.enqueue([message := bench.message("reports")])
        assert (await worker.next()).run_id == message.run_id
        assert time.time() >= until

    @rule
    async def test_a_later_pause_takes_the_place_of_an_earlier_one(self, bench: Bench) -> None:
        producer = await bench.broker()
        worker = await bench.worker("reports")
        await producer.queues.pause("reports")
        until = time.time() + 1.0
        await producer.queues.pause("reports", until)
        await producer.runs.enqueue([bench.message("reports")])
        await worker.next()
        assert time.time() >= until

    @rule
    async def test_a_paused_queue_holds_up_no_other(self, bench: Bench) -> None:
        producer = await bench.broker()
        await producer.runs.enqueue([bench.message("reports", priority=9) for _ in range(20)])
        await producer.queues.pause("reports")
        worker = await bench.worker("reports", "mails", credit=4)
        await producer.runs.enqueue(mails := bench.messages("mails", 12))
        held = await worker.take(4)
        for _ in range(8):
            held.pop(0).ack()
            held.append(await worker.next())
        assert sorted(worker.ids) == ids(mails)

    @rule
    async def test_runs_in_hand_go_on_while_their_queue_is_paused(self, bench: Bench) -> None:
        producer = await bench.broker()
        worker = await bench.worker("reports")
        await producer.runs.enqueue(bench.messages("reports", 2))
        done, returned = await worker.take(2)
        await producer.queues.pause("reports")
        done.ack()
        await returned.release()
        await _let_time_pass(bench, producer)
        assert worker.ids == [done.run_id, returned.run_id]
        await producer.queues.resume("reports")
        again = await worker.next()
        assert (again.run_id, again.redelivered, again.lost_workers) == (returned.run_id, True, 0)

    @rule
    async def test_a_delayed_run_comes_due_behind_a_pause(self, bench: Bench) -> None:
        producer = await bench.broker()
        worker = await bench.worker("reports")
        at = time.time() + 0.7
        await producer.runs.enqueue([message := bench.message("reports", at=at)])
        await producer.queues.pause("reports")
        await until_instant(at + 0.5)
        assert worker.ids == []
        await producer.queues.resume("reports")
        assert (await worker.next()).run_id == message.run_id

    @rule
    async def test_a_run_of_a_paused_queue_can_be_cancelled(self, bench: Bench) -> None:
        producer = await bench.broker()
        worker = await bench.worker("reports")
        await producer.queues.pause("reports")
        cancelled, kept = bench.messages("reports", 2)
        await producer.runs.enqueue([cancelled, kept])
        assert await producer.runs.cancel(cancelled.run_id) is True
        await producer.queues.resume("reports")
        assert (await worker.next()).run_id == kept.run_id

    @rule
    async def test_what_is_not_paused_cannot_be_resumed(self, bench: Bench) -> None:
        broker = await bench.broker()
        await bench.worker("reports")
        assert await broker.queues.resume("reports") is False
        await broker.queues.pause("reports")
        assert await broker.queues.resume("mails") is False
        assert await broker.queues.resume("reports") is True
        assert await broker.queues.resume("reports") is False
        until = time.time() + 0.3
        await broker.queues.pause("reports", until)
        await until_instant(until)
        assert await broker.queues.resume("reports") is False

    @rule
    async def test_a_pause_is_shown_until_it_ends(self, bench: Bench) -> None:
        broker = await bench.broker()
        assert await _pause_of(broker, "reports") is None
        await broker.queues.pause("reports")
        assert await _pause_of(broker, "reports") == Pause(None)
        until = time.time() + 60
        await broker.queues.pause("reports", until)
        pause = await _pause_of(broker, "reports")
        assert pause is not None
        assert pause.until is not None
        assert abs(pause.until - until) < 0.01
        await broker.queues.resume("reports")
        assert await _pause_of(broker, "reports") is None
        soon = time.time() + 0.3
        await broker.queues.pause("reports", soon)
        await until_instant(soon + 0.1)
        assert await _pause_of(broker, "reports") is None


async def _let_time_pass(bench: Bench, producer: Broker) -> None:
    """Let a worker that may take runs of another queue have had ample time to do so."""
    other: Inbox = await bench.worker("something-else", acks=True)
    for _ in range(3):
        await producer.runs.enqueue([bench.message("something-else")])
        await other.next()
    await until_instant(time.time() + 0.2)
    await other.consumption.close()


async def _pause_of(broker: Broker, queue: str) -> Pause | None:
    found = [info.pause for info in await broker.queues.list() if info.name == queue]
    return found[0] if found else None
