"""One namespace whose runs are spread over several streams."""

import asyncio
import time
from typing import Any

import pytest
from nats_clients import OpenBroker, WithBrokers
from waiting import PATIENCE, until

from jtask.contract import Delivery, Message
from jtask.errors import BrokerUnavailable, ConfigurationError
from jtask.ids import RunIds
from jtask_nats.broker import NatsBroker
from jtask_nats.client.connection import Connection

RUN_IDS = RunIds()
STREAMS = ["JTASK_default", *(f"JTASK_default_RUNS_{part}" for part in (2, 3, 4))]
QUEUES = ["q0", "q4", "q1", "q5"]
"""One of each stream."""


def message(queue: str, **fields: Any) -> Message:
    return Message(RUN_IDS.new(), queue, b"{}", **fields)


async def stored(broker: NatsBroker) -> dict[str, int]:
    """Count the messages of the streams that hold runs, of those that are there."""
    api = broker._connection.api
    names = (await api("STREAM.NAMES", {}))["streams"]
    found = [name for name in names if name == STREAMS[0] or "_RUNS_" in name]
    return {name: (await api(f"STREAM.INFO.{name}"))["state"]["messages"] for name in sorted(found)}


def test_each_queue_has_one_stream_and_one_call_may_enqueue_to_all(
    with_brokers: WithBrokers,
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, got = await open_broker(streams=4), list[Delivery]()
        await broker.runs.enqueue([message(queue) for queue in QUEUES for _ in range(3)])
        assert await stored(broker) == dict.fromkeys(STREAMS, 3)
        await broker.runs.consume(QUEUES, 100, got.append)
        await until(lambda: len(got) == 12)
        for delivery in got:
            delivery.ack()

        async def is_empty() -> bool:
            return await stored(broker) == dict.fromkeys(STREAMS, 0)

        await until(is_empty)

    with_brokers(main)


def test_streams_are_made_when_a_queue_needs_them(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker(streams=4)
        assert await stored(broker) == {STREAMS[0]: 0}
        await broker.runs.enqueue([message("q1")])
        assert await stored(broker) == {STREAMS[0]: 0, STREAMS[2]: 1}

    with_brokers(main)


@pytest.mark.parametrize(("first", "second"), [(1, 4), (4, 1), (4, 2)])
def test_another_number_than_the_namespace_has_is_refused(
    first: int, second: int, with_brokers: WithBrokers
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker(streams=first)
        await broker.runs.enqueue([message(queue) for queue in QUEUES])
        before = await stored(broker)
        said = (
            f"spread over {first} streams?, but JTASK_NATS_STREAMS is {second}: set it to {first}"
        )
        with pytest.raises(ConfigurationError, match=said):
            await open_broker(streams=second)
        assert await stored(broker) == before

    with_brokers(main)


def test_a_namespace_whose_first_stream_was_removed_takes_another_number(
    with_brokers: WithBrokers,
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        old = await open_broker(enqueue_timeout=0.5)
        await old._connection.api(f"STREAM.DELETE.{STREAMS[0]}")
        new = await open_broker(streams=4)
        # Who still has the old number stores nothing where nobody looks, and is told why.
        with pytest.raises(BrokerUnavailable, match="no stream"):
            await old.runs.enqueue([message("q0")])
        with pytest.raises(ConfigurationError, match="spread over 4 streams"):
            await old.runs.enqueue([message("q0")])
        await new.runs.enqueue([message("q0")])
        assert await stored(new) == {STREAMS[0]: 1}

    with_brokers(main)


def test_a_stream_that_should_not_be_there_is_not_made_again(with_brokers: WithBrokers) -> None:
    async def main(open_broker: OpenBroker) -> None:
        old = await open_broker(streams=4)
        await old.runs.enqueue([message("q5")])
        for name in (STREAMS[0], STREAMS[3]):
            await old._connection.api(f"STREAM.DELETE.{name}")
        new = await open_broker(streams=2)
        with pytest.raises(ConfigurationError, match="spread over 2 streams"):
            await old._topology.recheck()
        assert await stored(new) == {STREAMS[0]: 0}

    with_brokers(main)


def without_leader(broker: NatsBroker, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing that is asked about a stream be answered."""
    api = broker._connection.api

    async def unanswered(suffix: str, *args: Any, **options: Any) -> dict[str, Any]:
        if stream in suffix.split("."):
            await asyncio.sleep(options.get("timeout", 5.0))
            raise BrokerUnavailable("no answer")
        return await api(suffix, *args, **options)

    monkeypatch.setattr(broker._connection, "api", unanswered)


def test_streams_that_are_looked_at_anew_do_not_wait_for_the_first(
    with_brokers: WithBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker(streams=4)
        await broker.runs.enqueue([message("q1")])
        without_leader(broker, STREAMS[0], monkeypatch)
        async with asyncio.timeout(PATIENCE):
            await broker._topology.recheck(STREAMS[2])
            # As after an enqueue that got no answer.
            broker._topology.forget()
            await broker.runs.enqueue([message("q1")])

    with_brokers(main)


def test_a_look_at_all_streams_that_fails_at_one_leaves_nothing_under_way(
    with_brokers: WithBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker(streams=4)
        await broker.runs.enqueue([message("q0"), message("q1")])
        before, api = asyncio.all_tasks(), broker._connection.api

        async def refused(suffix: str, *args: Any, **options: Any) -> dict[str, Any]:
            if suffix.endswith(STREAMS[0]):
                raise ConfigurationError("it is not what jtask needs")
            await asyncio.sleep(0.05)  # later than that
            return await api(suffix, *args, **options)

        with monkeypatch.context() as patched:
            patched.setattr(broker._connection, "api", refused)
            with pytest.raises(ConfigurationError):
                await broker._topology.recheck()
            assert asyncio.all_tasks() <= before

    with_brokers(main)


def test_a_consumer_is_repaired_while_another_stream_has_no_leader(
    with_brokers: WithBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, got = await open_broker(streams=4), list[Delivery]()
        consumption = await broker.runs.consume(["q0", "q1"], 100, got.append)
        delete = (await open_broker(streams=4))._connection.api
        without_leader(broker, STREAMS[0], monkeypatch)
        await delete(f"CONSUMER.DELETE.{STREAMS[0]}.q0_0")
        await until(lambda: "q0" in (consumption.problem() or ""))
        await delete(f"CONSUMER.DELETE.{STREAMS[2]}.q1_0")
        await broker.runs.enqueue([one := message("q1")])
        await until(lambda: [delivery.run_id for delivery in got] == [one.run_id])
        got[0].ack()

    with_brokers(main)


def test_runs_are_woken_while_another_stream_has_no_leader(
    with_brokers: WithBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, got = await open_broker(streams=4), list[Delivery]()
        await broker.runs.consume(["q1"], 100, got.append)
        await broker._topology.ensure_runs()
        monkeypatch.setattr(Connection, "is_cluster", property(lambda _: True))
        without_leader(broker, STREAMS[0], monkeypatch)
        await broker.runs.enqueue([message("q1")])
        await until(lambda: got)
        await got.pop().park("door", time.time() + 600)
        # Who gives tokens looks again later.
        assert await broker.runs.wake("door", 2, tokens=["one", "two"]) == 1
        await until(lambda: got)
        await got.pop().park("door", time.time() + 600)
        with pytest.raises(BrokerUnavailable):
            await broker.runs.wake("door", 2)
        await until(lambda: got)
        got[0].ack()

    with_brokers(main)


def test_runs_are_listed_in_the_order_of_storing_whatever_their_stream(
    with_brokers: WithBrokers,
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker(streams=4)
        messages = [message(queue) for queue in (*QUEUES, *reversed(QUEUES), *QUEUES)]
        for one in messages:
            await broker.runs.enqueue([one])
        listed = [run.run_id async for run in broker.queues.waiting()]
        assert listed == [one.run_id for one in messages]
        infos = {info.name: info.waiting for info in await broker.queues.list()}
        assert infos == dict.fromkeys(QUEUES, 3)

    with_brokers(main)


def test_runs_are_woken_in_the_order_of_parking_whatever_their_stream(
    with_brokers: WithBrokers,
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker, got = await open_broker(streams=4), list[Delivery]()
        await broker.runs.consume(QUEUES, 100, got.append)
        parked: list[str] = []
        for queue in (*QUEUES, *QUEUES):
            await broker.runs.enqueue([one := message(queue)])
            await until(lambda: len(got) == 1)
            await got.pop().park("door", time.time() + 600)
            parked.append(one.run_id)
        assert await broker.runs.parked("door") == 8
        assert await broker.runs.parked_keys("do") == {"door"}
        for most in (3, 1, 10):
            woken = await broker.runs.wake("door", most)
            assert woken == min(most, len(parked))
            await until(lambda most=woken: len(got) == most)
            assert {one.run_id for one in got} == set(parked[:woken])
            for one in got:
                one.ack()
            del got[:], parked[:woken]

    with_brokers(main)


def test_a_run_is_found_and_cancelled_in_whichever_stream_it_is(
    with_brokers: WithBrokers,
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker(streams=4)
        now = [message(queue) for queue in QUEUES]
        later = [message(queue, at=time.time() + 600) for queue in QUEUES]
        await broker.runs.enqueue([*now, *later])
        for one in (*now, *later):
            found = await broker.queues.find(one.run_id)
            place = await broker.queues.locate(one.run_id)
            assert found is not None
            assert found.queue == one.queue
            assert place is not None
            assert not place.in_hand
            assert await broker.runs.cancel(one.run_id)
            assert not await broker.runs.cancel(one.run_id)
            assert await broker.queues.locate(one.run_id) is None
        assert await stored(broker) == dict.fromkeys(STREAMS, 0)

    with_brokers(main)
