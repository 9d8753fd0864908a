"""Rules for runs that will not be executed any more."""

import time
from dataclasses import replace

import pytest

from jtask.contract import DeadLetter
from jtask.errors import MessageRefused
from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, eventually, until


class DeadLetterContract(Contract):
    """Rules for `Delivery.dead_letter` and `DeadLetters`."""

    @rule
    async def test_a_dead_letter_tells_what_is_known_of_the_run(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        reader = await bench.broker()
        await reader.runs.enqueue([message := bench.message("reports")])
        before = time.time()
        await (await worker.next()).dead_letter("It crashed, thrice.", b"what \xff is kept")
        [letter] = [letter async for letter in reader.dead_letters.read()]
        assert letter.run_id == message.run_id
        assert letter.queue == "reports"
        assert letter.reason == "It crashed, thrice."
        assert letter.body == b"what \xff is kept"
        assert abs(letter.at - before) < 60

    @rule
    async def test_a_dead_lettered_run_is_off_the_queue(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        producer = await bench.broker()
        await producer.runs.enqueue([bench.message("reports")])
        await (await worker.next()).dead_letter("Unreadable.", b"")

        async def empty() -> bool:
            return await producer.queues.depth("reports") == 0

        await eventually(empty, "the queue is empty")

    @rule
    async def test_dead_letters_are_listed_oldest_first(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        producer = await bench.broker()
        expected: list[str] = []
        for number in range(5):
            await producer.runs.enqueue([bench.message("reports")])
            delivery = await worker.next()
            await delivery.dead_letter(f"Number {number}.", b"")
            expected.append(delivery.run_id)
        assert [letter.run_id async for letter in producer.dead_letters.read()] == expected

    @rule
    async def test_there_are_no_dead_letters_at_first(self, bench: Bench) -> None:
        broker = await bench.broker()
        assert [letter async for letter in broker.dead_letters.read()] == []

    @rule
    async def test_a_dead_letter_can_be_dropped_once(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        broker = await bench.broker()
        await broker.runs.enqueue(bench.messages("reports", 2))
        dropped, kept = await worker.take(2)
        await dropped.dead_letter("Dropped.", b"")
        await kept.dead_letter("Kept.", b"")
        assert await broker.dead_letters.drop(dropped.run_id) is True
        assert await broker.dead_letters.drop(dropped.run_id) is False
        assert [letter.run_id async for letter in broker.dead_letters.read()] == [kept.run_id]

    @rule
    async def test_one_dead_letter_is_found_by_its_run(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        broker = await bench.broker()
        await broker.runs.enqueue(bench.messages("reports", 3))
        for delivery in await worker.take(3):
            await delivery.dead_letter(f"About {delivery.run_id}.", delivery.run_id.encode())
        for run_id in worker.ids:
            found = await broker.dead_letters.get(run_id)
            assert found is not None
            assert (found.run_id, found.queue) == (run_id, "reports")
            assert (found.reason, found.body) == (f"About {run_id}.", run_id.encode())
        assert await broker.dead_letters.get(bench.run_ids.new()) is None

    @rule
    async def test_a_wildcard_is_no_run(self, bench: Bench) -> None:
        worker = await bench.worker("reports")
        broker = await bench.broker()
        await broker.runs.enqueue([bench.message("reports")])
        await (await worker.next()).dead_letter("Kept.", b"")
        await broker.runs.enqueue([delayed := bench.message("mails", at=time.time() + 60)])
        for text in ("*", ">", "", "a b", "run", delayed.run_id.upper()):
            assert await broker.dead_letters.get(text) is None
            assert await broker.dead_letters.drop(text) is False
            assert await broker.queues.find(text) is None
            assert await broker.results.get(text) is None
            assert await broker.runs.cancel(text) is False
        assert len([letter async for letter in broker.dead_letters.read()]) == 1
        assert await broker.queues.find(delayed.run_id) is not None

    @rule
    async def test_what_cannot_be_an_address_is_refused(self, bench: Bench) -> None:
        broker = await bench.broker()
        good = bench.message("reports")
        for bad in (
            replace(good, run_id="*"),
            replace(good, run_id="no-run-id"),
            replace(good, queue="a.b"),
            replace(good, queue=">"),
            replace(good, priority=10),
            replace(good, priority=-1),
        ):
            with pytest.raises(MessageRefused):
                await broker.runs.enqueue([bench.message("reports"), bad])
        for name in ("*", ">", "a b", ""):
            with pytest.raises(MessageRefused):
                await broker.queues.pause(name)
            with pytest.raises(MessageRefused):
                await broker.queues.resume(name)
            with pytest.raises(MessageRefused):
                await broker.queues.depth(name)
            with pytest.raises(MessageRefused):
                _ = [run async for run in broker.queues.waiting(name)]
        # All or none.
        assert await broker.queues.depth("reports") == 0

    @rule
    async def test_a_dead_letter_of_another_run_is_not_dropped(self, bench: Bench) -> None:
        assert await (await bench.broker()).dead_letters.drop(bench.run_ids.new()) is False

    @rule
    async def test_a_dead_lettered_run_may_be_enqueued_again_from_its_letter(
        self, bench: Bench
    ) -> None:
        worker = await bench.worker("reports")
        broker = await bench.broker()
        await broker.runs.enqueue([bench.message("reports", body=b"envelope")])
        await (await worker.next()).dead_letter("Poison.", b"envelope")
        letters: list[DeadLetter] = [letter async for letter in broker.dead_letters.read()]
        await broker.runs.enqueue([revived := bench.message("reports", body=letters[0].body)])
        await until(lambda: revived.run_id in worker.ids, "the new run is delivered")
        assert (await worker.next()).body == b"envelope"

    @rule
    async def test_dead_letters_are_kept_for_their_time(self, bench: Bench) -> None:
        bench.configure(dead_letter_ttl=1)
        worker = await bench.worker("reports")
        broker = await bench.broker()
        await broker.runs.enqueue([message := bench.message("reports")])
        await (await worker.next()).dead_letter("Unreadable.", b"")

        async def is_gone() -> bool:
            return await broker.dead_letters.get(message.run_id) is None

        await eventually(is_gone, "the dead letter is gone")
        assert [letter async for letter in broker.dead_letters.read()] == []
        assert await broker.dead_letters.drop(message.run_id) is False
