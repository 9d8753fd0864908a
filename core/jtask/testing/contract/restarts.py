"""Rules for a server that dies and comes back; skipped where there is none."""

import asyncio
import time

from jtask.contract import OutcomeRecord
from jtask.errors import BrokerUnavailable
from jtask.settings import get_settings
from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, eventually, ids, until


class RestartContract(Contract):
    """Rules for what survives a restart, and for who resumes after it."""

    @rule
    async def test_what_was_stored_survives_a_restart(self, bench: Bench) -> None:
        producer = await bench.broker()
        messages = bench.messages("reports", 20)
        delayed = bench.message("reports", at=time.time() + 1)
        await producer.runs.enqueue([*messages, delayed])
        await self.restart()
        worker = await bench.worker("reports", acks=True)
        await until(lambda: len(worker.ids) >= 21, "all runs are delivered")
        assert sorted(worker.ids) == [*ids(messages), delayed.run_id]

    @rule
    async def test_a_worker_consumes_again_after_a_restart(self, bench: Bench) -> None:
        worker = await bench.worker("reports", acks=True)
        producer = await bench.broker()
        await producer.runs.enqueue([bench.message("reports")])
        await worker.next()
        await self.restart()
        await producer.runs.enqueue([message := bench.message("reports")])
        await until(lambda: message.run_id in worker.ids, "the run is delivered")
        await until(lambda: worker.consumption.problem() is None, "all is well again")

    @rule
    async def test_a_run_enqueued_during_a_restart_is_stored_once(self, bench: Bench) -> None:
        worker = await bench.worker("reports", acks=True)
        producer = await bench.broker()
        await producer.runs.enqueue([first := bench.message("reports")])
        await worker.next()
        batch = bench.messages("reports", 5)
        await asyncio.gather(self.restart(), producer.runs.enqueue(batch))
        await until(lambda: set(worker.ids) >= set(ids(batch)), "all runs are delivered")
        # The ack of the first may have died with the server; then it comes once more.
        assert sorted(run_id for run_id in worker.ids if run_id != first.run_id) == ids(batch)

    @rule
    async def test_a_pause_survives_a_restart(self, bench: Bench) -> None:
        worker, other = await bench.worker("reports"), await bench.worker("mails", acks=True)
        producer = await bench.broker()
        await producer.queues.pause("reports")
        await self.restart()
        await producer.runs.enqueue([paused := bench.message("reports"), bench.message("mails")])
        late = await bench.worker("reports")
        await other.next()
        assert worker.ids == late.ids == []
        assert await producer.queues.resume("reports") is True
        await until(lambda: worker.ids or late.ids, "the run is delivered")
        assert {*worker.ids, *late.ids} == {paused.run_id}

    @rule
    async def test_records_survive_a_restart(self, bench: Bench) -> None:
        broker = await bench.broker()
        await broker.records.put("schedules", "nightly", b"one")
        before = await broker.records.list("schedules")
        await self.restart()
        assert await (await bench.broker()).records.list("schedules") == before

    @rule
    async def test_who_listens_is_heard_after_a_restart(self, bench: Bench) -> None:
        listener, asker = await bench.broker(), await bench.broker()
        await listener.requests.listen("who", lambda _: b"me")
        await self.restart()

        async def heard() -> bool:
            try:
                return await asker.requests.ask("who", b"", timeout=1.0, answers=1) == [b"me"]
            except BrokerUnavailable:
                return False

        await eventually(heard, "the question is answered")

    @rule
    async def test_an_outcome_stored_after_a_restart_is_pushed_or_announced_as_a_gap(
        self, bench: Bench
    ) -> None:
        broker, writer = await bench.broker(), await bench.broker()
        seen: list[OutcomeRecord] = []
        gaps: list[bool] = []
        await broker.results.watch(bench.run_ids.client, seen.append, lambda: gaps.append(True))
        await self.restart()
        outcome = OutcomeRecord(bench.run_ids.new(), b"done")
        await writer.results.put(outcome)
        await until(lambda: outcome in seen or gaps, "the outcome is pushed or a gap is told")
        assert await broker.results.get(outcome.run_id) == outcome

    @rule
    async def test_a_watch_is_told_of_the_gap_that_a_restart_leaves(self, bench: Bench) -> None:
        broker = await bench.broker()
        gaps: list[bool] = []
        await broker.results.watch(bench.run_ids.client, lambda _: None, lambda: gaps.append(True))
        await self.restart()
        await until(lambda: gaps, "the gap is told")

    @rule
    async def test_what_lives_is_not_delivered_again_after_an_outage_of_leases(
        self, bench: Bench
    ) -> None:
        workers = [await bench.worker("reports", credit=30) for _ in range(2)]
        producer = await bench.broker()
        await producer.runs.enqueue(messages := bench.messages("reports", 20))
        await until(lambda: sum(len(it.ids) for it in workers) == 20, "all runs are delivered")
        lease = get_settings().lease
        for leases in (1, 2, 5):
            await self.restart(away=leases * lease)
            for worker in workers:
                await until(lambda: worker.consumption.problem() is None, "all is well")  # noqa: B023 - awaited at once
            # Others have had the time to begin what they take for lost.
            await asyncio.sleep(2 * lease)
            assert sorted(workers[0].ids + workers[1].ids) == ids(messages)
        # None of the outages counts as a loss.
        for worker in workers:
            await worker.consumption.stop()
        heir = await bench.worker("reports", credit=30)
        for worker in workers:
            await self.lose(worker.consumption)
        assert {delivery.lost_workers for delivery in await heir.take(20)} == {1}

    @rule
    async def test_what_could_not_be_settled_is_settled_by_the_same_call_later(
        self, bench: Bench
    ) -> None:
        bench.configure(enqueue_timeout=0.5)
        worker = await bench.worker("reports", "mails")
        producer = await bench.broker()
        await producer.runs.enqueue([put_off := bench.message("reports")])
        await producer.runs.enqueue([dead := bench.message("mails")])
        by_id = {delivery.run_id: delivery for delivery in await worker.take(2)}

        async def settle() -> None:
            await by_id[put_off.run_id].reschedule(time.time(), b"attempt 2")
            await by_id[dead.run_id].dead_letter("It failed.", b"kept")

        async def settled() -> bool:
            try:
                await settle()
            except BrokerUnavailable:
                return False
            return True

        async def found_away() -> None:
            await until(lambda: worker.consumption.problem() is not None, "the server is away")
            assert not await settled()

        # Together, so that a broker without a server skips the rule. Away for longer than a busy
        # machine takes to notice it and to be refused.
        await asyncio.gather(self.restart(away=4 * get_settings().lease), found_away())
        await eventually(settled, "both are settled")
        await settle()  # one time more than needed changes nothing
        acked = 2

        async def over() -> bool:
            # Of the lease that has ended a delivery may still be on its way.
            nonlocal acked
            for delivery in worker.deliveries[acked:]:
                delivery.ack()
                acked += 1
            depths = [await producer.queues.depth(queue) for queue in ("reports", "mails")]
            return depths == [0, 0]

        await eventually(over, "both are off their queues")
        again = [it.body for it in worker.deliveries[2:] if it.run_id == put_off.run_id]
        assert [body for body in again if body != put_off.body] == [b"attempt 2"]
        assert [letter.body async for letter in producer.dead_letters.read()] == [b"kept"]

    @rule
    async def test_a_run_in_hand_can_be_settled_after_a_restart(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        producer = await bench.broker()
        await producer.runs.enqueue([message := bench.message("reports")])
        await worker.next()
        await self.restart()
        acked = 0

        async def settled() -> bool:
            # The lease may have ended meanwhile; then the run comes, and is acked, once more.
            nonlocal acked
            for delivery in worker.deliveries[acked:]:
                delivery.ack()
                acked += 1
            return await producer.queues.depth("reports") == 0

        await eventually(settled, "the queue is empty")
        assert set(worker.ids) == {message.run_id}
