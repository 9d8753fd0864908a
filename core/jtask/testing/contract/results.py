"""Rules for outcomes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import pytest

from jtask.contract import Broker, OpenResultStore, OutcomeRecord, Subscription
from jtask.errors import BrokerError
from jtask.ids import RunIds
from jtask.testing.contract.base import Contract, broker_of, rule
from jtask.testing.contract.bench import Bench, eventually, until

OnAnswer = Callable[[bool | BrokerError], None]
_MOMENT = 0.1  # seconds
_PATIENCE = 30.0  # seconds


def _no_gap() -> None:
    """Nothing is asked for after a gap: no rule here breaks a connection."""


async def _watch(broker: Broker, target: str, seen: list[OutcomeRecord]) -> Subscription:
    return await broker.results.watch(target, seen.append, _no_gap)


def _bodies(seen: list[OutcomeRecord], run_id: str) -> list[bytes]:
    return [outcome.body for outcome in seen if outcome.run_id == run_id]


def _has(seen: list[OutcomeRecord], run_id: str) -> Callable[[], bool]:
    return partial(lambda: bool(_bodies(seen, run_id)))


async def _check_quick_put(
    bench: Bench, put: Callable[[OutcomeRecord, OnAnswer], Awaitable[None]]
) -> None:
    run_ids = bench.run_ids.new_many(50)
    answers: list[bool | BrokerError] = []
    for run_id in run_ids:
        await put(OutcomeRecord(run_id, b"first"), answers.append)
    await until(lambda: len(answers) == len(run_ids), "all are answered")
    assert answers == [True] * len(run_ids)
    await put(OutcomeRecord(run_ids[0], b"second"), answers.append)
    await until(lambda: len(answers) > len(run_ids), "the second one is answered")
    assert answers[-1] is False
    reader = await bench.broker()
    assert await reader.results.get(run_ids[0]) == OutcomeRecord(run_ids[0], b"first")


def _ask_until_known(
    get_from_thread: Callable[[str, float], OutcomeRecord | None], run_id: str
) -> OutcomeRecord:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if (found := get_from_thread(run_id, _MOMENT)) is not None:
            return found
    raise TimeoutError("the outcome is not found")


class ResultStoreContract(Contract):
    """Rules for `ResultStore`; what is no more than a result store says how to open itself."""

    async def open_results(self, client: str) -> OpenResultStore:
        """Open one more client of the store under test; unused where `open_broker` is defined.

        Args:
            client: The client id: ten hexadecimal digits.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how to open its store")

    async def open_broker(self, client: str) -> Broker:
        """Open one more client; the rules here ask it for nothing but what a result store has."""
        return broker_of(results=await self.open_results(client))

    @rule
    async def test_an_outcome_is_read_back_by_any_client(self, bench: Bench) -> None:
        writer, reader = await bench.broker(), await bench.broker()
        outcome = OutcomeRecord(bench.run_ids.new(), b"\x00 any \xff bytes")
        assert await writer.results.put(outcome) is True
        assert await reader.results.get(outcome.run_id) == outcome

    @rule
    async def test_there_is_no_outcome_before_one_is_stored(self, bench: Bench) -> None:
        assert await (await bench.broker()).results.get(bench.run_ids.new()) is None

    @rule
    async def test_the_first_outcome_of_a_run_stands(self, bench: Bench) -> None:
        broker = await bench.broker()
        first = OutcomeRecord(bench.run_ids.new(), b"first")
        assert await broker.results.put(first) is True
        assert await broker.results.put(first._replace(body=b"second")) is False
        assert await broker.results.get(first.run_id) == first

    @rule
    async def test_an_outcome_that_is_sent_again_is_the_same_outcome(self, bench: Bench) -> None:
        one, other = await bench.broker(), await bench.broker()
        outcome = OutcomeRecord(bench.run_ids.new(), b"first")
        for broker in (one, one, other):
            assert await broker.results.put(outcome) is True
        assert await other.results.get(outcome.run_id) == outcome

    @rule
    async def test_one_of_many_outcomes_that_race_is_stored(self, bench: Bench) -> None:
        brokers = [await bench.broker() for _ in range(3)]
        run_id = bench.run_ids.new()
        racing = [OutcomeRecord(run_id, b"outcome %d" % number) for number in range(12)]
        stored = await asyncio.gather(
            *(brokers[index % 3].results.put(outcome) for index, outcome in enumerate(racing))
        )
        assert sum(stored) == 1
        assert await brokers[0].results.get(run_id) == racing[stored.index(True)]

    @rule
    async def test_an_outcome_is_sent_before_its_result_is_awaited(self, bench: Bench) -> None:
        writer, reader = await bench.broker(), await bench.broker()
        outcome = OutcomeRecord(bench.run_ids.new(), b"done")
        stored = writer.results.put(outcome)

        async def arrived() -> bool:
            return await reader.results.get(outcome.run_id) == outcome

        await eventually(arrived, "the outcome is stored")
        assert await stored is True

    @rule
    async def test_outcomes_can_be_pipelined(self, bench: Bench) -> None:
        broker = await bench.broker()
        outcomes = [
            OutcomeRecord(run_id, run_id.encode()) for run_id in bench.run_ids.new_many(200)
        ]
        sent = [broker.results.put(outcome) for outcome in outcomes]
        assert [await stored for stored in sent] == [True] * 200
        assert [await broker.results.get(outcome.run_id) for outcome in outcomes] == outcomes

    @rule
    async def test_many_outcomes_at_once_are_each_stored_for_themselves(self, bench: Bench) -> None:
        results = (await bench.broker()).results
        put_many = getattr(results, "put_many", None)
        if put_many is None:
            pytest.skip("it stores one outcome after the other")
        run_ids = bench.run_ids.new_many(500)
        for run_id in run_ids[::7]:
            assert await results.put(OutcomeRecord(run_id, b"first")) is True
        answers: dict[int, bool | BrokerError] = {}

        def done(places: Sequence[int], answer: bool | BrokerError) -> None:
            assert not answers.keys() & set(places)
            answers.update(dict.fromkeys(places, answer))

        put_many(run_ids, [run_id.encode() for run_id in run_ids], done)
        await until(lambda: len(answers) == len(run_ids), "all are answered")
        assert answers == {place: place % 7 > 0 for place in range(len(run_ids))}
        reader = (await bench.broker()).results
        for place, run_id in list(enumerate(run_ids))[:20]:
            body = run_id.encode() if place % 7 else b"first"
            assert await reader.get(run_id) == OutcomeRecord(run_id, body)

    @rule
    async def test_a_put_by_a_thread_answers_like_a_put(self, bench: Bench) -> None:
        put_from_thread = getattr((await bench.broker()).results, "put_from_thread", None)
        if put_from_thread is None:
            pytest.skip("its threads cannot put themselves")

        async def put(outcome: OutcomeRecord, done: OnAnswer) -> None:
            await asyncio.to_thread(put_from_thread, outcome, done)

        await _check_quick_put(bench, put)

    @rule
    async def test_a_thread_that_waits_for_a_moment_gets_what_is_stored(self, bench: Bench) -> None:
        broker, worker = await bench.broker(), await bench.broker()
        get_from_thread = getattr(broker.results, "get_from_thread", None)
        if get_from_thread is None:
            pytest.skip("its threads cannot wait themselves")
        outcome = OutcomeRecord(bench.run_ids.new(), b"done")
        waits = [asyncio.to_thread(_ask_until_known, get_from_thread, outcome.run_id)]
        waits.append(asyncio.to_thread(_ask_until_known, get_from_thread, outcome.run_id))
        early = asyncio.gather(*waits)
        await worker.results.put(outcome)
        assert await early == [outcome, outcome]
        late = asyncio.to_thread(_ask_until_known, get_from_thread, outcome.run_id)
        assert await late == outcome

    @rule
    async def test_an_outcome_of_the_inline_limit_is_stored_and_pushed_whole(
        self, bench: Bench
    ) -> None:
        broker = await bench.broker()
        outcome = OutcomeRecord(bench.run_ids.new(), b"x" * broker.inline_limit)
        seen: list[OutcomeRecord] = []
        await _watch(broker, outcome.run_id, seen)
        assert await broker.results.put(outcome) is True
        await until(_has(seen, outcome.run_id), "the outcome is pushed")
        assert seen[0] == outcome == await broker.results.get(outcome.run_id)

    @rule
    async def test_an_outcome_is_pushed_to_who_watches_its_run(self, bench: Bench) -> None:
        writer, watcher = await bench.broker(), await bench.broker()
        outcome = OutcomeRecord(bench.run_ids.new(), b"done")
        seen: list[OutcomeRecord] = []
        await _watch(watcher, outcome.run_id, seen)
        await writer.results.put(outcome)
        await until(_has(seen, outcome.run_id), "the outcome is pushed")
        assert seen[0] == outcome

    @rule
    async def test_the_outcomes_of_a_client_are_pushed_to_who_watches_it(
        self, bench: Bench
    ) -> None:
        writer, watcher = await bench.broker(), await bench.broker()
        run_ids = bench.run_ids.new_many(50)
        seen: list[OutcomeRecord] = []
        await _watch(watcher, bench.run_ids.client, seen)
        for run_id in run_ids:
            await writer.results.put(OutcomeRecord(run_id, run_id.encode()))
        await until(lambda: {it.run_id for it in seen} >= set(run_ids), "all are pushed")
        assert all(outcome.body == outcome.run_id.encode() for outcome in seen)

    @rule
    async def test_a_watch_sees_no_outcome_of_other_clients(self, bench: Bench) -> None:
        broker = await bench.broker()
        foreign = RunIds().new()
        own = bench.run_ids.new()
        seen: list[OutcomeRecord] = []
        await _watch(broker, bench.run_ids.client, seen)
        await broker.results.put(OutcomeRecord(foreign, b"foreign"))
        await broker.results.put(OutcomeRecord(own, b"own"))
        await until(_has(seen, own), "the own outcome is pushed")
        assert _bodies(seen, foreign) == []

    @rule
    async def test_an_outcome_is_pushed_to_all_who_watch(self, bench: Bench) -> None:
        brokers = [await bench.broker() for _ in range(3)]
        outcome = OutcomeRecord(bench.run_ids.new(), b"done")
        lists: list[list[OutcomeRecord]] = []
        for broker in [*brokers, brokers[0]]:
            lists.append([])
            await _watch(broker, outcome.run_id, lists[-1])
        await brokers[0].results.put(outcome)
        for seen in lists:
            await until(_has(seen, outcome.run_id), "the outcome is pushed to each")

    @rule
    async def test_an_outcome_that_came_second_is_not_pushed(self, bench: Bench) -> None:
        writer, watcher = await bench.broker(), await bench.broker()
        run_id, last = bench.run_ids.new_many(2)
        seen: list[OutcomeRecord] = []
        await _watch(watcher, bench.run_ids.client, seen)
        await writer.results.put(OutcomeRecord(run_id, b"first"))
        await writer.results.put(OutcomeRecord(run_id, b"second"))
        await writer.results.put(OutcomeRecord(last, b"last"))
        await until(_has(seen, last), "the last outcome is pushed")
        assert set(_bodies(seen, run_id)) == {b"first"}

    @rule
    async def test_a_closed_watch_sees_no_more(self, bench: Bench) -> None:
        broker = await bench.broker()
        run_id = bench.run_ids.new()
        closed: list[OutcomeRecord] = []
        standing: list[OutcomeRecord] = []
        watch = await _watch(broker, bench.run_ids.client, closed)
        await _watch(broker, bench.run_ids.client, standing)
        await watch.close()
        await broker.results.put(OutcomeRecord(run_id, b"done"))
        await until(_has(standing, run_id), "the other watch sees the outcome")
        assert closed == []

    @rule
    async def test_an_outcome_is_forgotten_after_its_time_to_live(self, bench: Bench) -> None:
        bench.configure(result_ttl=1)
        broker = await bench.broker()
        outcome = OutcomeRecord(bench.run_ids.new(), b"done")
        assert await broker.results.put(outcome) is True

        async def forgotten() -> bool:
            return await broker.results.get(outcome.run_id) is None

        await eventually(forgotten, "the outcome is forgotten")
