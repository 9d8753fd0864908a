"""The first outcome stands, and whoever waits hears of it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from jtask.contract import OutcomeRecord
from jtask.ids import RunIds
from jtask.settings import Settings
from jtask_nats.broker import NatsBroker
from jtask_nats.connection import Connection
from jtask_nats.lease_guard import GuardAccess

Run = Callable[[Coroutine[Any, Any, Any]], Any]
PATIENCE = 40.0  # seconds
RUN_IDS = RunIds()


async def open_broker(server: Any) -> NatsBroker:
    connection = await Connection.open([server.url], name="test", connect_timeout=20.0)
    access = GuardAccess((server.url,))
    return await NatsBroker.open(connection, RUN_IDS.client, Settings(), access)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


def test_the_second_outcome_of_a_run_loses(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        one, other = await open_broker(nats_server), await open_broker(nats_server)
        run_id = RUN_IDS.new()
        assert await one.put(OutcomeRecord(run_id, b"first")) is True
        assert await other.put(OutcomeRecord(run_id, b"second")) is False
        assert await one.get(run_id) == OutcomeRecord(run_id, b"first")
        await one.close()
        await other.close()

    run(main())


def test_an_outcome_whose_answer_was_lost_has_won(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        broker = await open_broker(nats_server)
        outcome = OutcomeRecord(RUN_IDS.new(), b"only")
        await broker.put(outcome)
        assert await broker.put(outcome) is True
        await broker.close()

    run(main())


def test_an_outcome_that_lost_is_pushed_to_nobody(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        broker = await open_broker(nats_server)
        run_id, last = RUN_IDS.new(), RUN_IDS.new()
        heard: list[OutcomeRecord] = []
        await broker.watch(RUN_IDS.client, heard.append, lambda: None)
        puts = [
            broker.put(OutcomeRecord(run_id, b"first")),
            broker.put(OutcomeRecord(run_id, b"second")),
            broker.put(OutcomeRecord(last, b"last")),
        ]
        assert await asyncio.gather(*puts) == [True, False, True]
        await until(lambda: len(heard) == 2)
        assert heard == [OutcomeRecord(run_id, b"first"), OutcomeRecord(last, b"last")]
        await broker.close()

    run(main())


def test_many_wait_through_one_subscription(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        waiter, worker = await open_broker(nats_server), await open_broker(nats_server)
        run_ids = RUN_IDS.new_many(3000)
        heard: dict[str, bytes] = {}
        await waiter.watch(
            RUN_IDS.client, lambda outcome: heard.__setitem__(*outcome), lambda: None
        )
        puts = [worker.put(OutcomeRecord(run_id, run_id.encode())) for run_id in run_ids]
        assert all(await asyncio.gather(*puts))
        await until(lambda: len(heard) == len(run_ids))
        assert heard == {run_id: run_id.encode() for run_id in run_ids}
        await waiter.close()
        await worker.close()

    run(main())


def test_a_lost_connection_is_a_gap_in_what_is_watched(run: Run, nats_server: Any) -> None:
    async def main() -> None:
        broker = await open_broker(nats_server)
        run_id = RUN_IDS.new()
        gaps: list[None] = []
        heard: list[OutcomeRecord] = []
        await broker.watch(run_id, heard.append, lambda: gaps.append(None))
        nats_server.kill()
        await asyncio.to_thread(nats_server.start)
        await until(lambda: bool(gaps))
        assert await broker.put(OutcomeRecord(run_id, b"late")) is True
        await until(lambda: heard == [OutcomeRecord(run_id, b"late")])
        await broker.close()

    run(main())
