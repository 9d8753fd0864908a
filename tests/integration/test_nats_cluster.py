"""Three servers that lose their leaders, move them, or have none yet."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from nats_cluster import NatsCluster, StartCluster
from processes import freeze
from waiting import PATIENCE, until

from jtask.contract import Delivery, Event, Message, OutcomeRecord
from jtask.errors import BrokerUnavailable
from jtask.ids import RunIds
from jtask.settings import Settings
from jtask.worker.insistence import Insistence
from jtask_nats.access import Access
from jtask_nats.broker import NatsBroker
from jtask_nats.client.connection import Connection
from jtask_nats.client.jetstream_api import API_TIMEOUT
from jtask_nats.settings import NatsSettings
from jtask_nats.stores import results

QUEUE = "mails"
CONSUMER = f"JTASK_default.{QUEUE}_0"


@contextlib.asynccontextmanager
async def broker_on(
    cluster: NatsCluster, first: int = 0, **settings: float
) -> AsyncIterator[NatsBroker]:
    """Open a broker on a cluster, connected to one of its servers."""
    urls = [node.url for node in cluster.nodes]
    urls = urls[first:] + urls[:first]
    connection = await Connection.open(urls, name="test", connect_timeout=20)
    access = Access(tuple(urls))
    broker = await NatsBroker.open(
        connection, RunIds().client, Settings(**settings), NatsSettings(replicas=3), access
    )
    try:
        yield broker
    finally:
        await broker.close()


class Worker:
    """Settles each run as soon as it comes."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker
        self.ended: dict[str, float] = {}
        self._settling: set[asyncio.Task[None]] = set()

    def receive(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._settle(delivery))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def executes(self, message: Message) -> float:
        """Enqueue a run, and return when it has ended."""
        await self._broker.runs.enqueue([message])
        await until(lambda: message.run_id in self.ended)
        return self.ended[message.run_id]

    async def _settle(self, delivery: Delivery) -> None:
        outcome = OutcomeRecord(delivery.run_id, b"done")
        # As workers do: of a run that is held and never settled nobody else would hear.
        await Insistence()(lambda: self._broker.results.put(outcome))
        delivery.ack()
        self.ended.setdefault(delivery.run_id, time.monotonic())


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


def new_run() -> Message:
    return Message(RunIds().new(), QUEUE, b"{}")


async def leader_of(broker: NatsBroker, what: str) -> str:
    call = {
        "the events": "STREAM.INFO.JTASK_default_EVENTS",
        "the runs": "STREAM.INFO.JTASK_default",
        "the queue": f"CONSUMER.INFO.{CONSUMER}",
    }[what]
    name: str = (await broker._connection.api(call))["cluster"].get("leader", "")
    return name


async def election(broker: NatsBroker, dead: str) -> float:
    """Return when the runs and the queue have leaders that live."""
    for what in ("the runs", "the queue"):
        leader = ""
        while leader in ("", dead):
            with contextlib.suppress(BrokerUnavailable):
                leader = await leader_of(broker, what)
    return time.monotonic()


def test_workers_that_start_at_the_same_moment_wait_for_a_new_cluster(
    start_cluster: StartCluster,
) -> None:
    cluster = start_cluster()

    async def one(first: int) -> None:
        async with broker_on(cluster, first) as broker:
            await broker.runs.consume([QUEUE], 10, Worker(broker).receive)

    async def main() -> None:
        # Not even a leader is there yet.
        await asyncio.gather(*map(one, range(3)), *map(one, range(3)))

    run(main)


def test_a_worker_notices_within_two_seconds_that_the_leader_of_its_queue_has_moved(
    start_cluster: StartCluster,
) -> None:
    cluster = start_cluster()
    cluster.await_leader()

    async def main() -> None:
        async with broker_on(cluster) as broker:
            worker, gaps = Worker(broker), list[float]()
            consumption = await broker.runs.consume([QUEUE], 10, worker.receive)
            for _ in range(6):
                await worker.executes(new_run())
                await broker._connection.api(f"CONSUMER.LEADER.STEPDOWN.{CONSUMER}")
                begun = time.monotonic()
                # It moves a moment after the answer.
                while time.monotonic() < begun + 2:
                    asked = time.monotonic()
                    gaps.append(await worker.executes(new_run()) - asked)
            # Under 2 s but for what a busy machine adds; it used to be 5 to 21 s.
            assert max(gaps) < 5, gaps
            assert consumption.problem() is None

    run(main)


@pytest.mark.parametrize("victim", ["the cluster", "the runs", "the queue"])
def test_runs_go_on_after_an_election_when_a_leader_is_killed(
    start_cluster: StartCluster, victim: str
) -> None:
    cluster = start_cluster()
    meta = cluster.await_leader()

    async def main() -> None:
        # However long an election takes on a machine that is busy.
        patient = {"enqueue_timeout": PATIENCE}
        async with (
            broker_on(cluster, 0, **patient) as caller,
            broker_on(cluster, 1, **patient) as serving,
        ):
            worker = Worker(serving)
            await serving.runs.consume([QUEUE], 10, worker.receive)
            await worker.executes(new_run())
            leader = meta if victim == "the cluster" else await leader_of(caller, victim)
            cluster.node(leader).kill()
            elected = asyncio.create_task(election(serving, leader))
            later = [new_run() for _ in range(50)]
            for message in later:
                await caller.runs.enqueue([message])
            await until(lambda: all(message.run_id in worker.ended for message in later))
            # A request that was lost in the election is not waited for on top of it.
            assert max(worker.ended.values()) - await elected < API_TIMEOUT

    run(main)


def test_no_event_is_missing_that_was_sent_while_the_log_had_no_leader(
    start_cluster: StartCluster,
) -> None:
    cluster = start_cluster()
    cluster.await_leader()

    async def main() -> None:
        async with contextlib.AsyncExitStack() as opened:
            brokers = [await opened.enter_async_context(broker_on(cluster, n)) for n in range(3)]
            leader = cluster.node(await leader_of(brokers[0], "the events"))
            # One of them was connected to the server that is killed.
            leader.kill()
            sent, run_ids = set[str](), RunIds()

            async def are_stored() -> bool:
                """Send some more, until one that was sent before is there."""
                for broker in brokers:
                    sent.add(run_id := run_ids.new())
                    broker.events.append([Event(run_id, "Running", time.time(), "task")])
                return bool(await kept())

            async def kept() -> set[str]:
                return {event.run_id async for event in brokers[0].events.read()}

            async def are_all_kept() -> bool:
                return sent == await kept()

            await until(are_stored)
            await until(are_all_kept)

    run(main)


def test_no_event_is_missing_of_a_process_that_ends_while_the_log_has_no_leader(
    start_cluster: StartCluster,
) -> None:
    cluster = start_cluster()
    cluster.await_leader()

    async def main() -> None:
        async with broker_on(cluster) as reader:
            leader = cluster.node(await leader_of(reader, "the events"))
            others = [n for n, node in enumerate(cluster.nodes) if node is not leader]
            event = Event(RunIds().new(), "Scheduled", time.time(), "task")
            async with broker_on(cluster, others[0]) as leaving:
                assert leader.process is not None
                freeze(leader.process.pid)
                leaving.events.append([event])
            async with broker_on(cluster, others[1]) as another:

                async def is_kept() -> bool:
                    return event.run_id in {one.run_id async for one in another.events.read()}

                # The process is gone: who answers may lag, and nobody sends it again.
                await until(is_kept)

    run(main)


def test_a_slot_outlives_the_kill_of_all_servers_at_once(start_cluster: StartCluster) -> None:
    cluster = start_cluster()
    cluster.await_leader()

    async def main() -> None:
        async with broker_on(cluster) as holder:
            token = await holder.slots.acquire("database", "one", 1, 60)
            for node in cluster.nodes:
                node.kill()
            await until(lambda: not holder._connection.is_connected)
            cluster.start()
            async with broker_on(cluster, 1) as newcomer:
                assert await newcomer.slots.acquire("database", "two", 1, 60) is None
                token = await holder.slots.acquire("database", "one", 1, 60, token=token)
                assert token is not None
                await holder.slots.release("database", token)
                assert await newcomer.slots.acquire("database", "two", 1, 60) is not None

    run(main)


def test_who_is_connected_to_a_server_that_freezes_goes_to_another_before_a_lease_is_over(
    start_cluster: StartCluster,
) -> None:
    cluster = start_cluster()
    cluster.await_leader()

    async def main() -> None:
        async with broker_on(cluster) as broker, broker_on(cluster) as other:
            connections = [broker._connection, other._connection]
            (frozen,) = (node for node in cluster.nodes if node.url == connections[0].url)
            assert frozen.process is not None
            freeze(frozen.process.pid)
            begun = time.monotonic()
            await until(lambda: all(one.url != frozen.url for one in connections))
            await until(lambda: all(one.is_connected for one in connections))
            # Within 7 s but for what a busy machine adds; it used to be 20 to 35 s.
            assert time.monotonic() - begun < Settings().lease
            await broker.runs.enqueue([new_run()])

    run(main)


def test_no_outcome_is_missed_by_who_begins_to_wait_beside_it(
    start_cluster: StartCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second look would hide it.
    monkeypatch.setattr(results, "_RUN_LOOKS", (600.0, 600.0))
    delay = 0.03
    # By one connection: of several, the question may overtake the subscription, and then it is the
    # second look that finds what is stored in between.
    cluster = start_cluster(route_delay=delay, pool_size=-1)
    cluster.await_leader()

    async def main() -> None:
        async with contextlib.AsyncExitStack() as opened:
            brokers = [await opened.enter_async_context(broker_on(cluster, n)) for n in range(3)]

            async def one(number: int) -> None:
                """Wait as another process does: listen, then ask; the outcome comes meanwhile."""
                watcher, teller = brokers[number % 3], brokers[(number // 3) % 3]
                run_id, got = RunIds().new(), asyncio.Event()
                told = asyncio.ensure_future(teller.results.put(OutcomeRecord(run_id, b"done")))
                # Around the moment at which it is stored, by three ways over a route.
                await asyncio.sleep(random.uniform(0, 4 * delay))
                watch = await watcher.results.watch(run_id, lambda _: got.set(), lambda: None)
                if await watcher.results.get(run_id) is None:
                    async with asyncio.timeout(PATIENCE):
                        await got.wait()
                await told
                await watch.close()

            for _ in range(10):
                await asyncio.gather(*map(one, range(90)))

    run(main)


def test_what_is_sent_twice_at_once_is_stored_once_and_nobody_gets_an_error(
    start_cluster: StartCluster,
) -> None:
    cluster = start_cluster(route_delay=0.005)
    cluster.await_leader()

    async def main() -> None:
        async with broker_on(cluster) as one, broker_on(cluster, 1) as other:
            runs = [new_run() for _ in range(10)]
            sent = ([run] for run in runs for _ in range(3))
            await asyncio.gather(*map(one.runs.enqueue, sent))
            assert await one.queues.depth(QUEUE) == len(runs)
            firsts = [one.results.put(OutcomeRecord(run.run_id, b"one")) for run in runs]
            others = [other.results.put(OutcomeRecord(run.run_id, b"other")) for run in runs]
            for first, second in zip(firsts, others, strict=True):
                assert await first is not await second

    run(main)
