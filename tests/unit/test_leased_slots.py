"""Slots that are renewed and handed on, under a clock that moves by hand."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from plugin_models import World

from jtask.client import slot_of
from jtask.contract import Delivery, Message
from jtask.errors import BrokerUnavailable
from jtask.settings import get_settings
from jtask_limits.definitions import Limit, limits_of
from jtask_memory import MemoryBroker, Storage

ELECTION = 9.0  # seconds, at most


class Parked:
    """Runs that wait for slots of the name "api", and what they are woken with."""

    def __init__(self) -> None:
        self.world = World([], lambda run_id, body: None, [])
        self.slots = self.world.caller.slots
        self.broker = self.world.caller.broker
        self.delivered: list[Delivery] = []

    async def park(self, count: int) -> list[str]:
        """Park some runs; return their ids."""
        run_ids = [self.world.caller.ids.new() for _ in range(count)]
        await self.broker.runs.enqueue([Message(run_id, "waiting", b"{}") for run_id in run_ids])
        await asyncio.sleep(0.0001)
        for delivery in self.take():
            await delivery.park("api", self.world.clock.time() + 10_000)
        return run_ids

    def deliver(self, delivery: Delivery) -> None:
        """Note what is delivered."""
        self.delivered.append(delivery)

    def take(self) -> list[Delivery]:
        """Return what was delivered since the last look."""
        taken, self.delivered = self.delivered, []
        return taken


@pytest.fixture
def parked() -> Iterator[Parked]:
    found = Parked()
    found.world.do(found.broker.runs.consume(["waiting"], 1000, found.deliver))
    yield found
    found.world.close()


def do(parked: Parked, work: Any) -> Any:
    return parked.world.do(work)


def holders(parked: Parked) -> list[str]:
    return sorted(one.holder for one in do(parked, parked.broker.slots.holders("api")))


def test_a_slot_goes_to_the_run_that_was_parked_first_and_to_nobody_else(parked: Parked) -> None:
    assert do(parked, parked.slots.take("api", "one", 1))
    first, second = do(parked, parked.park(2))
    do(parked, parked.slots.give_back("api", "one", 1))
    (woken,) = parked.take()
    assert woken.run_id == first
    # Who comes now comes too late.
    assert not do(parked, parked.slots.take("api", "a stranger", 1))
    assert do(parked, parked.slots.take_or_park("api", first, 1, woken.token))
    assert holders(parked) == [first]
    do(parked, parked.slots.give_back("api", first, 1, woken.token))
    (woken,) = parked.take()
    assert woken.run_id == second


def test_many_slots_that_are_given_back_at_once_go_to_as_many_runs(parked: Parked) -> None:
    for number in range(5):
        assert do(parked, parked.slots.take("api", f"holder-{number}", 5))
    run_ids = do(parked, parked.park(7))

    async def give_all_back() -> None:
        backs = [parked.slots.give_back("api", f"holder-{number}", 5) for number in range(5)]
        await asyncio.gather(*backs)

    do(parked, give_all_back())
    woken = parked.take()
    assert [one.run_id for one in woken] == run_ids[:5]
    assert len({one.token for one in woken}) == 5
    for one in woken:
        assert do(parked, parked.slots.take_or_park("api", one.run_id, 5, one.token))
    assert holders(parked) == sorted(run_ids[:5])


def test_a_slot_that_nobody_waits_for_is_free(parked: Parked) -> None:
    assert do(parked, parked.slots.take("api", "one", 1))
    do(parked, parked.slots.give_back("api", "one", 1))
    assert holders(parked) == []


def test_a_run_that_does_not_use_what_it_was_woken_with_hands_it_on(parked: Parked) -> None:
    assert do(parked, parked.slots.take("api", "one", 1))
    first, second = do(parked, parked.park(2))
    do(parked, parked.slots.give_back("api", "one", 1))
    (woken,) = parked.take()
    do(parked, parked.slots.give_back("api", first, 1, woken.token))
    (woken,) = parked.take()
    assert woken.run_id == second
    assert slot_of(woken.token, "api") is not None
    assert slot_of(woken.token, "another name") is None


def test_what_was_given_back_twice_is_one_slot(parked: Parked) -> None:
    assert do(parked, parked.slots.take("api", "one", 1))
    do(parked, parked.park(2))
    for _ in range(2):
        do(parked, parked.slots.give_back("api", "one", 1))
    woken = parked.take()
    taken = [
        do(parked, parked.slots.take_or_park("api", one.run_id, 1, one.token)) for one in woken
    ]
    assert sum(taken) == 1


def test_a_slot_is_renewed_until_it_is_given_back(parked: Parked) -> None:
    lease = get_settings().lease
    assert do(parked, parked.slots.take("api", "one", 1))
    do(parked, asyncio.sleep(10 * lease))
    assert holders(parked) == ["one"]
    do(parked, parked.slots.give_back("api", "one", 1))
    do(parked, asyncio.sleep(lease))
    assert holders(parked) == []


@pytest.mark.parametrize("begins", [0.1, 2.4, 4.9, 7.4, 9.9, 12.4, 14.9])
def test_no_slot_is_lost_while_a_leader_is_elected_whenever_that_begins(
    parked: Parked, monkeypatch: pytest.MonkeyPatch, begins: float
) -> None:
    lease, acquire = get_settings().lease, parked.broker.slots.acquire
    renewed: list[float] = []

    async def acquire_on_cluster(*asked: Any, **token: Any) -> str | None:
        """Send it as often as is done on NATS; what arrives in an election is lost."""
        clock = asyncio.get_running_loop().time
        sent = clock()
        for copy in (0.0, 2.0, 6.0, 8.5):
            await asyncio.sleep(sent + copy - clock())
            if not begun + begins <= clock() <= begun + begins + ELECTION:
                renewed.append(clock())
                return await acquire(*asked, **token)
        await asyncio.sleep(sent + 10.0 - clock())
        raise BrokerUnavailable("it has no leader")

    async def hold() -> float:
        monkeypatch.setattr(parked.broker.slots, "acquire", acquire_on_cluster)
        begun = asyncio.get_running_loop().time()
        assert await parked.slots.take("api", "one", 1)
        return begun

    begun = -1000.0
    begun = do(parked, hold())
    do(parked, asyncio.sleep(4 * lease))
    assert max(after - before for before, after in pairwise(renewed)) <= lease - 1.0


def test_a_lost_slot_is_reported(parked: Parked, caplog: pytest.LogCaptureFixture) -> None:
    assert do(parked, parked.slots.take("api", "one", 1))

    async def lose() -> None:
        # As after a cut that lasted longer than the lease.
        for token, _ in parked.world.storage.slots["api"].items(parked.world.clock.time()):
            await parked.broker.slots.release("api", token)
        assert await parked.broker.slots.acquire("api", "another", 1, 1000)

    do(parked, lose())
    with caplog.at_level(logging.WARNING, logger="jtask"):
        do(parked, asyncio.sleep(get_settings().lease))
    assert "one has lost its slot of 'api': the lease was over" in caplog.messages
    assert holders(parked) == ["another"]


def test_nothing_starts_under_a_lowered_limit_until_there_are_fewer(parked: Parked) -> None:
    for holder in ("one", "two", "three"):
        assert do(parked, parked.slots.take("api", holder, 3))
    do(parked, parked.park(1))
    for holder, woken in (("one", 0), ("two", 0), ("three", 1)):
        do(parked, parked.slots.give_back("api", holder, 1, is_fixed=False))
        assert len(parked.take()) == woken


def test_a_slot_of_a_lost_process_is_handed_on_after_its_lease(parked: Parked) -> None:
    lease = get_settings().lease
    do(parked, parked.broker.slots.acquire("api", "lost", 1, lease))
    do(parked, parked.park(1))

    async def limit_now() -> int:
        return 1

    do(parked, parked.slots.watch("api", limit_now))
    assert parked.take() == []
    do(parked, asyncio.sleep(3 * lease))
    (woken,) = parked.take()
    assert slot_of(woken.token, "api") is not None


def test_what_is_kept_for_a_broker_does_not_keep_it_alive() -> None:
    async def main() -> weakref.ref[MemoryBroker]:
        broker = MemoryBroker("memory://", Storage(), asyncio.get_running_loop())
        await limits_of(broker).put(Limit("db", 1), is_new=True)
        assert limits_of(broker) is limits_of(broker)
        await broker.close()
        return weakref.ref(broker)

    broker = asyncio.run(main())
    gc.collect()
    assert broker() is None
