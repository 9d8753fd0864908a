"""Rules for namespaces: what is stored in one is not in another."""

import secrets

from jtask.contract import Broker, LogLine, OutcomeRecord
from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench


async def _two(bench: Bench) -> tuple[Broker, Broker]:
    one = await bench.broker()
    bench.configure(namespace=f"contract_{secrets.token_hex(6)}")
    return one, await bench.broker()


class NamespaceContract(Contract):
    """Rules for the setting `namespace`."""

    @rule
    async def test_runs_and_queues_of_a_namespace_are_in_no_other(self, bench: Bench) -> None:
        one, other = await _two(bench)
        await one.runs.enqueue([message := bench.message("reports")])
        await one.queues.pause("mails")
        assert await other.queues.list() == []
        assert await other.queues.locate(message.run_id) is None
        assert await other.runs.cancel(message.run_id) is False
        worker = await bench.consume(other, "reports", "mails")
        await other.runs.enqueue([own := bench.message("mails")])
        assert (await worker.next()).run_id == own.run_id
        assert await one.queues.depth("reports") == 1

    @rule
    async def test_dead_letters_of_a_namespace_are_in_no_other(self, bench: Bench) -> None:
        one, other = await _two(bench)
        worker = await bench.consume(one, "reports")
        await one.runs.enqueue([message := bench.message("reports")])
        await (await worker.next()).dead_letter("Unreadable.", b"")
        assert await other.dead_letters.get(message.run_id) is None
        assert [letter async for letter in other.dead_letters.read()] == []

    @rule
    async def test_what_runs_leave_behind_in_a_namespace_is_in_no_other(self, bench: Bench) -> None:
        one, other = await _two(bench)
        run_id = bench.run_ids.new()
        assert await one.results.put(OutcomeRecord(run_id, b"done")) is True
        line = LogLine(run_id, 1234567890.25, 20, "shop", "hello", 1, "host-1", 1)
        await one.logs.append([line])
        await one.items.append([line])
        await one.blobs.put(f"{run_id}.value", b"large")
        assert await other.results.get(run_id) is None
        assert [page async for page in other.logs.read(run_id)] == []
        assert [page async for page in other.items.read(run_id)] == []
        assert await other.blobs.get(f"{run_id}.value") is None

    @rule
    async def test_what_processes_agree_on_in_a_namespace_is_in_no_other(
        self, bench: Bench
    ) -> None:
        one, other = await _two(bench)
        assert await one.counters.add("built", 5) == 5
        assert await one.slots.acquire("database", "one", 1, 60)
        assert await one.records.put("schedules", "nightly", b"one") is True
        await one.heartbeats.beat("host-1", b"", 60)
        await one.requests.listen("who", lambda _: b"me")
        assert await other.counters.add("built", 0) == 0
        assert await other.slots.holders("database") == []
        assert await other.records.list("schedules") == []
        assert await other.heartbeats.living() == []
        assert await other.requests.ask("who", b"", timeout=0.5) == []
