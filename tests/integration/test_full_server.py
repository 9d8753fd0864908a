"""A server that has no room for a while."""

import asyncio
import time

import pytest
from nats_clients import OpenBroker, WithBrokers
from nats_servers import StartNats
from waiting import until

from jtask.contract import Delivery, Message
from jtask.errors import BrokerFull
from jtask.ids import RunIds
from jtask_nats.client.connection import Connection
from jtask_nats.queues import overdue

QUEUE = "mails"
RUN_IDS = RunIds()
LARGE = 4 << 20  # bytes


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overdue, "_PAUSE", (0.2, 0.2))
    monkeypatch.setattr(overdue, "_LATE", 0.5)


class Ballast:
    """A stream of somebody else's that takes the room."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._size = LARGE
        self._last = 0

    async def fill(self) -> None:
        """Leave no room at all."""
        await self._connection.api("STREAM.CREATE.FILL", {"name": "FILL", "subjects": ["fill"]})
        while await self._take(LARGE):
            self._last += 1
        await self.fill_up()

    async def fill_up(self) -> None:
        """Leave no room where little is left."""
        size = LARGE
        while size > 10:
            size = size if await self._take(size) else size // 8

    async def free_some(self) -> None:
        """Make room for little."""
        await self._connection.api("STREAM.MSG.DELETE.FILL", {"seq": self._last})

    async def free_all(self) -> None:
        await self._connection.api("STREAM.DELETE.FILL")

    async def _take(self, size: int) -> bool:
        answer = await self._connection.request("fill", b"x" * size, timeout=30)
        return b"error" not in answer.data


def test_runs_that_come_due_while_there_is_no_room_are_executed_once_there_is(
    with_brokers: WithBrokers, start_nats: StartNats
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        broker = await open_broker()
        ballast = Ballast(broker._connection)
        await ballast.fill()
        await ballast.free_some()
        due = time.time() + 1.5
        delayed = Message(RUN_IDS.new(), QUEUE, b"delayed", at=due, expires=due + 3600)
        parked = Message(RUN_IDS.new(), QUEUE, b"parked", at=due, parked_under="key")
        later = Message(RUN_IDS.new(), QUEUE, b"later", at=due + 3600)
        await broker.runs.enqueue([delayed, parked, later])
        await ballast.fill_up()
        await until(lambda: time.time() > due + 0.5)
        got = list[Delivery]()
        await broker.runs.consume([QUEUE], 10, got.append)
        with pytest.raises(BrokerFull, match="max_file_store"):
            await broker.runs.enqueue([Message(RUN_IDS.new(), QUEUE, b"refused")])
        assert got == []
        await ballast.free_all()
        await until(lambda: len(got) == 2)
        assert {one.run_id: one.body for one in got} == {
            delayed.run_id: b"delayed",
            parked.run_id: b"parked",
        }
        found = await broker.queues.find(later.run_id)
        assert found is not None
        assert found.at == pytest.approx(due + 3600, abs=1)

    with_brokers(main, start_nats("max_file_store: 300MB", "max_payload: 8MB"))


def test_a_slot_that_could_not_be_renewed_for_want_of_room_is_left_to_whoever_had_it(
    with_brokers: WithBrokers, start_nats: StartNats
) -> None:
    async def main(open_broker: OpenBroker) -> None:
        holder, other = await open_broker(), await open_broker()
        token = await holder.slots.acquire("database", "one", 1, 2)
        ballast = Ballast(holder._connection)
        await ballast.fill()

        async def is_free() -> bool:
            with pytest.raises(BrokerFull, match="max_file_store"):
                await holder.slots.acquire("database", "one", 1, 2, token=token)
            return not await other.slots.holders("database")

        await until(is_free)
        refusals = list[float]()

        async def is_refused_for_half_a_lease() -> bool:
            with pytest.raises(BrokerFull, match="max_file_store"):
                await other.slots.acquire("database", "two", 1, 2)
            refusals.append(time.time())
            return refusals[-1] > refusals[0] + 1.5

        await until(is_refused_for_half_a_lease)
        await ballast.free_some()
        taking = asyncio.create_task(other.slots.acquire("database", "two", 1, 2))
        # The holder's next renewal, which may take a while to come.
        await asyncio.wait([taking], timeout=1)
        assert await holder.slots.acquire("database", "one", 1, 2, token=token)
        assert await taking is None

    with_brokers(main, start_nats("max_file_store: 300MB", "max_payload: 8MB"))
