"""Rules for the claim that a worker has on its runs, and for workers that are lost."""

import asyncio
import time

from jtask.settings import get_settings
from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, ids, until


class LeaseContract(Contract):
    """Rules for leases: what lives keeps its runs, what died loses them."""

    @rule
    async def test_the_runs_of_a_lost_worker_go_to_another(self, bench: Bench) -> None:
        lost = await bench.worker("reports")
        messages = bench.messages("reports", 3)
        await (await bench.broker()).runs.enqueue(messages)
        await lost.take(3)
        await self.lose(lost.consumption)
        heir = await bench.worker("reports")
        again = await heir.take(3)
        assert sorted(heir.ids) == ids(messages)
        assert [(it.redelivered, it.lost_workers) for it in again] == [(True, 1)] * 3
        assert {delivery.body for delivery in again} == {message.body for message in messages}

    @rule
    async def test_the_runs_of_a_lost_worker_go_to_one_that_waits_already(
        self, bench: Bench
    ) -> None:
        lost = await bench.worker("reports")
        producer = await bench.broker()
        await producer.runs.enqueue([message := bench.message("reports")])
        await lost.next()
        heir = await bench.worker("reports", "mails")
        await producer.runs.enqueue([bench.message("mails")])
        await heir.next()  # so it consumes by now
        await self.lose(lost.consumption)
        assert (await heir.next()).run_id == message.run_id

    @rule
    async def test_the_runs_of_a_client_that_closes_go_to_another(self, bench: Bench) -> None:
        leaving = await bench.broker()
        worker = await bench.consume(leaving, "reports")
        await (await bench.broker()).runs.enqueue([message := bench.message("reports")])
        await worker.next()
        await leaving.close()
        heir = await bench.worker("reports")
        assert (await heir.next()).run_id == message.run_id

    @rule
    async def test_every_loss_is_counted(self, bench: Bench) -> None:
        await (await bench.broker()).runs.enqueue([bench.message("reports")])
        for loss in (0, 1, 2):
            worker = await bench.worker("reports")
            assert (await worker.next()).lost_workers == loss
            await self.lose(worker.consumption)

    @rule
    async def test_a_release_is_no_loss(self, bench: Bench) -> None:
        await (await bench.broker()).runs.enqueue([bench.message("reports")])
        returning = await bench.worker("reports")
        for _ in range(4):
            delivery = await returning.next()
            assert delivery.lost_workers == 0
            await delivery.release()
        await (await returning.next()).release()
        await returning.consumption.close()
        lost = await bench.worker("reports")
        assert (await lost.next()).lost_workers == 0
        await self.lose(lost.consumption)
        heir = await bench.worker("reports")
        again = await heir.next()
        assert (again.redelivered, again.lost_workers) == (True, 1)

    @rule
    async def test_losses_are_remembered_when_the_run_is_rescheduled(self, bench: Bench) -> None:
        await (await bench.broker()).runs.enqueue([bench.message("reports")])
        lost = await bench.worker("reports")
        await lost.next()
        await self.lose(lost.consumption)
        heir = await bench.worker("reports")
        await (await heir.next()).reschedule(time.time() + 0.7, b"attempt 2")
        again = await heir.next()
        assert (again.body, again.redelivered, again.lost_workers) == (b"attempt 2", False, 1)

    @rule
    async def test_a_worker_that_lives_keeps_its_run_beyond_the_lease(self, bench: Bench) -> None:
        worker = await bench.worker("reports", credit=1)
        other = await bench.worker("reports", credit=1)
        await (await bench.broker()).runs.enqueue([bench.message("reports")])
        await until(lambda: worker.deliveries or other.deliveries, "the run is delivered")
        await asyncio.sleep(2.5 * get_settings().lease)
        assert len(worker.deliveries) + len(other.deliveries) == 1

    @rule
    async def test_a_stopped_worker_keeps_its_run_beyond_the_lease(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        await (await bench.broker()).runs.enqueue([bench.message("reports")])
        await worker.next()
        await worker.consumption.stop()
        other = await bench.worker("reports")
        await asyncio.sleep(2.5 * get_settings().lease)
        assert other.ids == []

    @rule
    async def test_a_claim_that_was_lost_is_settled_without_an_error(self, bench: Bench) -> None:
        lost = await bench.worker("reports")
        await (await bench.broker()).runs.enqueue(bench.messages("reports", 4))
        acked, handed_back, reschedule, lettered = await lost.take(4)
        await self.lose(lost.consumption)
        heir = await bench.worker("reports")
        await heir.take(4)
        acked.ack()
        await handed_back.release()
        await reschedule.reschedule(time.time() + 3600)
        await lettered.dead_letter("Too late.", b"")
