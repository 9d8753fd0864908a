"""The first outcome stands, and whoever waits hears of it."""

import asyncio

import pytest
from nats_clients import OpenBroker, WithBrokers
from nats_servers import NatsServer
from waiting import until

from jtask.contract import OutcomeRecord
from jtask.errors import BrokerUnavailable
from jtask.ids import RunIds
from jtask_nats.stores import results

RUN_IDS = RunIds()
STREAM = "JTASK_default_RESULTS"


def test_the_second_outcome_of_a_run_loses(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        one, other = await open_broker(), await open_broker()
        run_id = RUN_IDS.new()
        assert await one.results.put(OutcomeRecord(run_id, b"first")) is True
        assert await other.results.put(OutcomeRecord(run_id, b"second")) is False
        assert await one.results.get(run_id) == OutcomeRecord(run_id, b"first")

    with_brokers(main)


def test_an_outcome_whose_answer_was_lost_has_won(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        outcome = OutcomeRecord(RUN_IDS.new(), b"only")
        await broker.results.put(outcome)
        assert await broker.results.put(outcome) is True

    with_brokers(main)


def test_an_outcome_that_lost_is_pushed_to_nobody(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        run_id, last = RUN_IDS.new(), RUN_IDS.new()
        heard: list[OutcomeRecord] = []
        await broker.results.watch(RUN_IDS.client, heard.append, lambda: None)
        puts = [
            broker.results.put(OutcomeRecord(run_id, b"first")),
            broker.results.put(OutcomeRecord(run_id, b"second")),
            broker.results.put(OutcomeRecord(last, b"last")),
        ]
        assert await asyncio.gather(*puts) == [True, False, True]
        await until(lambda: len(heard) == 2)
        assert heard == [OutcomeRecord(run_id, b"first"), OutcomeRecord(last, b"last")]

    with_brokers(main)


def test_many_wait_through_one_subscription(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        waiter, worker = await open_broker(), await open_broker()
        run_ids = RUN_IDS.new_many(3000)
        heard: dict[str, bytes] = {}
        await waiter.results.watch(
            RUN_IDS.client, lambda outcome: heard.__setitem__(*outcome), lambda: None
        )
        puts = [worker.results.put(OutcomeRecord(run_id, run_id.encode())) for run_id in run_ids]
        assert all(await asyncio.gather(*puts))
        await until(lambda: len(heard) == len(run_ids))
        assert heard == {run_id: run_id.encode() for run_id in run_ids}

    with_brokers(main)


def test_a_lost_connection_is_a_gap_in_what_is_watched(
    with_brokers: WithBrokers, nats_server: NatsServer
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        run_id = RUN_IDS.new()
        gaps: list[None] = []
        heard: list[OutcomeRecord] = []
        await broker.results.watch(run_id, heard.append, lambda: gaps.append(None))
        nats_server.kill()
        await asyncio.to_thread(nats_server.start)
        await until(lambda: bool(gaps))
        assert await broker.results.put(OutcomeRecord(run_id, b"late")) is True
        await until(lambda: heard == [OutcomeRecord(run_id, b"late")])

    with_brokers(main)


def test_a_connection_that_is_lost_as_somebody_begins_to_watch_is_no_error(
    with_brokers: WithBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()

        async def unanswered() -> None:
            raise BrokerUnavailable("no answer on PING")

        with monkeypatch.context() as patched:
            patched.setattr(broker._connection, "flush", unanswered)
            run_id = RUN_IDS.new()
            await broker.results.watch(run_id, lambda _: None, lambda: None)
            await broker.items.watch(run_id, lambda: None)
            await broker.events.watch(lambda: None)
            await broker.requests.listen("topic", lambda _: None)

    with_brokers(main)


def test_a_waiter_looks_again_for_what_was_not_pushed(
    with_brokers: WithBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "_RUN_LOOKS", (0.05, 0.1))

    async def main(open_broker: OpenBroker) -> None:
        broker, run_id = await open_broker(), RunIds().new()
        got: list[OutcomeRecord] = []
        watch = await broker.results.watch(run_id, got.append, lambda: None)
        watch._subscription.unsubscribe()
        outcome = OutcomeRecord(run_id, b"done")
        await broker.results.put(outcome)
        await until(lambda: outcome in got)
        await watch.close()

    with_brokers(main)


def test_an_outcome_is_stored_although_its_stream_was_removed(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        await broker._connection.api(f"STREAM.DELETE.{STREAM}")
        outcome = OutcomeRecord(RUN_IDS.new(), b"first")
        assert await broker.results.put(outcome) is True
        assert await broker.results.get(outcome.run_id) == outcome

    with_brokers(main)


def test_an_outcome_is_stored_once_what_stood_in_the_way_of_its_stream_is_removed(
    with_brokers: WithBrokers,
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        api, topology = broker._connection.api, broker._topology
        foreign = {"name": "FOREIGN", "subjects": ["jtask.default.r.>"]}
        await api(f"STREAM.DELETE.{STREAM}")
        await api("STREAM.CREATE.FOREIGN", foreign)
        reasons: list[str] = []
        await topology.recheck_until_done(reasons.append)
        assert "already uses subjects" in reasons[0]
        await api("STREAM.DELETE.FOREIGN")
        outcome = OutcomeRecord(RUN_IDS.new(), b"first")
        assert await broker.results.put(outcome) is True
        assert await broker.results.get(outcome.run_id) == outcome

    with_brokers(main)
