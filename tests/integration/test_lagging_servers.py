"""A cluster whose servers, but for the leader, do not have yet what was stored a moment ago."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from nats_clients import OpenBroker, WithBrokers
from waiting import until

from jtask.contract import Delivery, LogLine, Message, OutcomeRecord
from jtask.errors import BrokerUnavailable
from jtask.ids import RunIds
from jtask_limits.definitions import Limit, Limits
from jtask_nats.broker import NatsBroker
from jtask_nats.client import direct_reads, purging
from jtask_nats.client.connection import Connection
from jtask_nats.client.nats_errors import STREAM_NOT_FOUND, ApiError
from jtask_nats.streams.stream_configs import NANO, Stream

QUEUE = "mails"


@pytest.fixture
def with_lagging(
    with_brokers: WithBrokers, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[NatsBroker], Awaitable[None]]], None]:
    """Run a coroutine function with a broker whose direct gets meet a server that has nothing."""

    def run_with_lagging(main: Callable[[NatsBroker], Awaitable[None]]) -> None:
        async def around(open_broker: OpenBroker) -> None:
            broker = await open_broker()
            empty = {"name": "LAGS", "subjects": ["lags"], "allow_direct": True}
            await broker._connection.api("STREAM.CREATE.LAGS", empty)
            monkeypatch.setattr(direct_reads, "_api", lambda _: "$JS.API.DIRECT.GET.LAGS")
            monkeypatch.setattr(Connection, "is_cluster", property(lambda _: True))
            await main(broker)

        with_brokers(around)

    return run_with_lagging


WithLagging = Callable[[Callable[[NatsBroker], Awaitable[None]]], None]


def new_run() -> Message:
    return Message(RunIds().new(), QUEUE, b"{}")


async def delivered(broker: NatsBroker, message: Message) -> Delivery:
    """Enqueue a run, and return it as a worker gets it."""
    got = list[Delivery]()
    await broker.runs.consume([QUEUE], 100, got.append)
    await broker.runs.enqueue([message])
    await until(lambda: got)
    return got[0]


def test_what_is_stored_is_found_although_another_server_does_not_have_it_yet(
    with_lagging: WithLagging,
) -> None:
    async def main(broker: NatsBroker) -> None:
        waiting = new_run()
        await broker.blobs.put("k", (large := b"x" * 600_000))
        await broker.records.put("bucket", "key", b"value")
        await broker.results.put(OutcomeRecord(waiting.run_id, b"end"))
        await broker.runs.enqueue([waiting])
        assert await broker.blobs.get("k") == large
        assert await broker.blobs.get("k", at_most=10) is None
        assert await broker.blobs.get("none") is None
        assert (await broker.records.get("bucket", "key") or waiting).body == b"value"
        assert await broker.records.get("bucket", "none") is None
        assert (await broker.results.get(waiting.run_id) or waiting).body == b"end"
        assert await broker.queues.find(waiting.run_id) is not None
        assert await broker.runs.cancel(waiting.run_id)
        assert await broker.queues.find(waiting.run_id) is None

    with_lagging(main)


def test_a_record_is_what_it_is_although_another_server_has_an_older_one_still(
    with_lagging: WithLagging, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(broker: NatsBroker) -> None:
        records = broker.records
        await records.put("bucket", "key", b"old")
        subject = broker._session.subjects.record("bucket", "key")
        stream = "JTASK_default_RECORDS"
        older = await direct_reads.latest_message(broker._connection, stream, subject)

        async def outdated(*_: Any) -> Any:
            return older

        monkeypatch.setattr(direct_reads, "_single", outdated)
        await records.put("bucket", "key", b"new")
        record = await records.get("bucket", "key")
        assert record is not None
        assert record.body == b"new"
        await records.delete("bucket", "key")
        assert await records.get("bucket", "key") is None

    with_lagging(main)


def test_a_dead_letter_is_found_although_another_server_does_not_have_it_yet(
    with_lagging: WithLagging,
) -> None:
    async def main(broker: NatsBroker) -> None:
        dying = new_run()
        await (await delivered(broker, dying)).dead_letter("it failed", b"{}")
        assert await broker.dead_letters.get(dying.run_id) is not None

    with_lagging(main)


@pytest.mark.parametrize("count", [1, 100])
def test_a_run_is_woken_although_another_server_does_not_know_yet_that_it_is_parked(
    with_lagging: WithLagging, count: int
) -> None:
    async def main(broker: NatsBroker) -> None:
        delivery = await delivered(broker, new_run())
        await delivery.park("database", 32_000_000_000.0)
        assert await broker.runs.parked("database") == 1
        assert await broker.runs.wake("database", count) == 1
        assert await broker.runs.parked("database") == 0

    with_lagging(main)


def test_who_wakes_runs_waits_for_the_election_of_the_one_stream_that_holds_them(
    with_lagging: WithLagging, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(broker: NatsBroker) -> None:
        delivery = await delivered(broker, new_run())
        await delivery.park("database", 32_000_000_000.0)
        ask = direct_reads._of_leader

        async def elected_in_nine_seconds(*args: Any) -> Any:
            if len(args) > 3 and args[3] < 9:
                raise BrokerUnavailable("it has no leader")
            return await ask(*args)

        monkeypatch.setattr(direct_reads, "_of_leader", elected_in_nine_seconds)
        assert await broker.runs.parked("database") == 1
        assert await broker.runs.wake("database", 1) == 1

    with_lagging(main)


def test_a_log_is_read_to_the_last_line_although_another_server_does_not_have_it_yet(
    with_lagging: WithLagging,
) -> None:
    async def main(broker: NatsBroker) -> None:
        line = LogLine(new_run().run_id, 0.0, 20, "shop", "packed")
        await broker.logs.append([line])
        pages = broker.logs.read(line.run_id, to_the_last=True)
        assert [line async for page in pages for line in page.lines] == [line]

    with_lagging(main)


def test_a_queue_is_paused_although_another_server_does_not_know_of_it_yet(
    with_lagging: WithLagging,
) -> None:
    async def main(broker: NatsBroker) -> None:
        await delivered(broker, new_run())
        await broker.queues.pause(QUEUE)
        info = await broker._connection.api(f"CONSUMER.INFO.JTASK_default.{QUEUE}_0")
        assert info["paused"]
        assert await broker.queues.resume(QUEUE)

    with_lagging(main)


@pytest.mark.parametrize("ttl", [None, 60.0])
def test_it_is_counted_on_although_another_server_does_not_have_the_last_count_yet(
    with_lagging: WithLagging, ttl: float | None
) -> None:
    async def main(broker: NatsBroker) -> None:
        assert await broker.counters.add("built", 1, ttl=ttl) == 1
        assert await broker.counters.add("built", 41, ttl=ttl) == 42

    with_lagging(main)


def test_a_limit_that_was_just_made_can_be_changed_although_another_server_lacks_it(
    with_lagging: WithLagging,
) -> None:
    async def main(broker: NatsBroker) -> None:
        limits = Limits(broker.records)
        assert not await limits.change(Limit("db", 1))
        assert await limits.put(Limit("db", 1), is_new=True)
        assert await limits.change(Limit("db", 2))
        assert await limits.slots_now("db") == 2

    with_lagging(main)


@pytest.fixture
def unheard(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Return a function that has the first call of a kind refused: its stream is not known yet."""
    ask = Connection.api

    def refuse_first(call: str) -> list[str]:
        refused = list[str]()

        async def ask_after(connection: Connection, suffix: str, *args: Any, **kwargs: Any) -> Any:
            if suffix.startswith(call) and not refused:
                refused.append(suffix)
                raise ApiError(404, STREAM_NOT_FOUND, "stream not found")
            return await ask(connection, suffix, *args, **kwargs)

        monkeypatch.setattr(Connection, "api", ask_after)
        return refused

    return refuse_first


@pytest.mark.parametrize("call", ["STREAM.MSG.GET", "CONSUMER.NAMES", "CONSUMER.CREATE"])
def test_a_queue_is_consumed_although_the_leader_has_not_heard_of_its_streams_yet(
    call: str, with_lagging: WithLagging, unheard: Callable[[str], list[str]]
) -> None:
    async def main(broker: NatsBroker) -> None:
        refused = unheard(call)
        run = new_run()
        assert (await delivered(broker, run)).run_id == run.run_id
        assert refused

    with_lagging(main)


@pytest.mark.parametrize(
    ("call", "ask"),
    [
        ("STREAM.INFO", lambda broker: broker.events.bounds()),
        ("STREAM.MSG.GET", lambda broker: broker.counters.get("built")),
        ("STREAM.MSG.GET", lambda broker: broker.results.get(RunIds().new())),
        ("STREAM.INFO", lambda broker: broker.queues.list()),
        ("CONSUMER.LIST", lambda broker: broker.queues.list()),
        ("CONSUMER.NAMES", lambda broker: broker.queues.pause(QUEUE)),
    ],
)
def test_what_is_asked_of_a_stream_is_answered_although_the_leader_has_not_heard_of_it_yet(
    call: str,
    ask: Callable[[NatsBroker], Awaitable[object]],
    with_lagging: WithLagging,
    unheard: Callable[[str], list[str]],
) -> None:
    async def main(broker: NatsBroker) -> None:
        answer = await ask(broker)
        refused = unheard(call)
        assert await ask(broker) == answer
        assert refused

    with_lagging(main)


@pytest.mark.parametrize("call", ["STREAM.INFO", "STREAM.UPDATE"])
def test_a_stream_is_brought_up_to_date_although_the_leader_has_not_heard_of_it_yet(
    call: str, with_lagging: WithLagging, unheard: Callable[[str], list[str]]
) -> None:
    async def main(broker: NatsBroker) -> None:
        topology = broker._session.topology
        await topology.ensure(Stream.RECORDS)
        info = await broker._connection.api("STREAM.INFO.JTASK_default_RECORDS")
        other = {**info["config"], "duplicate_window": 60 * NANO}
        await broker._connection.api("STREAM.UPDATE.JTASK_default_RECORDS", other)
        topology.forget()
        refused = unheard(call)
        await topology.ensure(Stream.RECORDS)
        assert refused
        info_after = await broker._connection.api("STREAM.INFO.JTASK_default_RECORDS")
        assert info_after["config"] == info["config"]

    with_lagging(main)


def test_what_is_deleted_is_gone_although_the_leader_has_not_heard_of_its_stream_yet(
    with_lagging: WithLagging, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_api, refused = purging.call_api, list[str]()

    async def unheard(connection: Connection, suffix: str, *args: Any, **kwargs: Any) -> Any:
        if suffix not in refused:
            refused.append(suffix)
            raise ApiError(404, STREAM_NOT_FOUND, "stream not found")
        return await call_api(connection, suffix, *args, **kwargs)

    async def main(broker: NatsBroker) -> None:
        token = await broker.slots.acquire("db", "one", 1, 30.0)
        assert token is not None
        await broker.records.put("bucket", "key", b"value")
        monkeypatch.setattr(purging, "call_api", unheard)
        assert await broker.records.delete("bucket", "key")
        await broker.slots.release("db", token)
        assert len(refused) == 2
        assert await broker.records.get("bucket", "key") is None
        assert await broker.slots.acquire("db", "other", 1, 30.0) is not None

    with_lagging(main)


def test_what_is_listed_has_all_that_was_stored_although_another_server_lacks_it(
    with_lagging: WithLagging,
) -> None:
    async def main(broker: NatsBroker) -> None:
        runs = [new_run() for _ in range(70)]
        dying = new_run()
        await (await delivered(broker, dying)).dead_letter("it failed", b"{}")
        await broker.queues.pause("others")
        await broker.runs.enqueue([replace(run, queue="others") for run in runs])
        await broker.records.put("bucket", "key", b"value")
        listed = [run.run_id async for run in broker.queues.waiting("others")]
        assert listed == [run.run_id for run in runs]
        assert [letter.run_id async for letter in broker.dead_letters.read()] == [dying.run_id]
        assert [record.key for record in await broker.records.list("bucket")] == ["key"]

    with_lagging(main)


def test_a_slot_is_taken_although_another_server_says_that_all_are_free(
    with_lagging: WithLagging,
) -> None:
    async def main(broker: NatsBroker) -> None:
        one = await broker.slots.acquire("db", "one", 2, 30.0)
        other = await broker.slots.acquire("db", "other", 2, 30.0)
        assert None not in (one, other)
        assert await broker.slots.acquire("db", "one", 2, 30.0) is not None

    with_lagging(main)
