"""Rules for what processes agree on: counters, locks, slots, and who lives."""

import asyncio
import time

from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, eventually


class CounterContract(Contract):
    """Rules for `Counters`."""

    @rule
    async def test_a_counter_starts_at_zero_and_returns_its_new_value(self, bench: Bench) -> None:
        broker = await bench.broker()
        assert await broker.counters.add("built") == 1
        assert await broker.counters.add("built", 41) == 42
        assert await broker.counters.add("built", -50) == -8
        assert await broker.counters.add("other") == 1

    @rule
    async def test_adding_nothing_reads_a_counter(self, bench: Bench) -> None:
        broker = await bench.broker()
        await broker.counters.add("built", 7)
        assert await broker.counters.add("built", 0) == 7

    @rule
    async def test_a_counter_loses_nothing_when_many_add_at_once(self, bench: Bench) -> None:
        brokers = [await bench.broker() for _ in range(3)]
        values = await asyncio.gather(*(brokers[n % 3].counters.add("built") for n in range(60)))
        assert sorted(values) == list(range(1, 61))

    @rule
    async def test_a_counter_that_lives_for_a_time_counts_as_well(self, bench: Bench) -> None:
        brokers = [await bench.broker() for _ in range(3)]
        adding = (brokers[n % 3].counters.add("built", ttl=60) for n in range(30))
        assert sorted(await asyncio.gather(*adding)) == list(range(1, 31))

    @rule
    async def test_a_counter_starts_anew_after_its_time_to_live(self, bench: Bench) -> None:
        broker = await bench.broker()
        assert await broker.counters.add("brief", 5, ttl=1) == 5
        assert await broker.counters.add("long", 5, ttl=60) == 5

        async def over() -> bool:
            # Nothing is added meanwhile: that would prolong its life.
            await asyncio.sleep(1.2)
            return await broker.counters.add("brief", 1, ttl=1) == 1

        await eventually(over, "the counter is gone")
        assert await broker.counters.add("long", 1, ttl=60) == 6

    @rule
    async def test_a_deleted_counter_starts_anew(self, bench: Bench) -> None:
        one, other = await bench.broker(), await bench.broker()
        for options in ({}, {"ttl": 60.0}):
            key = f"deleted-{len(options)}"
            assert await one.counters.add(key, 5, **options) == 5
            await other.counters.delete(key)
            assert await one.counters.add(key, 1, **options) == 1

    @rule
    async def test_a_counter_that_is_not_there_can_be_deleted(self, bench: Bench) -> None:
        await (await bench.broker()).counters.delete("never")


class SlotContract(Contract):
    """Rules for `Slots`."""

    @rule
    async def test_a_lock_has_one_holder(self, bench: Bench) -> None:
        one, other = await bench.broker(), await bench.broker()
        assert await one.slots.acquire("database", "one", 1, 60)
        assert await other.slots.acquire("database", "other", 1, 60) is None

    @rule
    async def test_a_released_slot_can_be_taken(self, bench: Bench) -> None:
        one, other = await bench.broker(), await bench.broker()
        token = await one.slots.acquire("database", "one", 1, 60)
        assert token is not None
        await one.slots.release("database", token)
        assert await other.slots.acquire("database", "other", 1, 60)

    @rule
    async def test_no_more_than_the_limit_hold_a_slot(self, bench: Bench) -> None:
        brokers = [await bench.broker() for _ in range(3)]
        got = await asyncio.gather(
            *(brokers[n % 3].slots.acquire("api", f"holder-{n}", 4, 60) for n in range(30))
        )
        assert sum(token is not None for token in got) == 4

    @rule
    async def test_a_slot_freed_under_a_limit_goes_to_one_more_holder(self, bench: Bench) -> None:
        broker = await bench.broker()
        tokens = [
            await broker.slots.acquire("api", holder, 3, 60) for holder in ("one", "two", "three")
        ]
        assert tokens[1] is not None
        await broker.slots.release("api", tokens[1])
        assert await broker.slots.acquire("api", "four", 3, 60)
        assert await broker.slots.acquire("api", "five", 3, 60) is None

    @rule
    async def test_a_holder_renews_its_slot_and_takes_no_second_one(self, bench: Bench) -> None:
        broker = await bench.broker()
        assert await broker.slots.acquire("api", "one", 2, 60)
        assert await broker.slots.acquire("api", "one", 2, 60)
        assert await broker.slots.acquire("api", "two", 2, 60)
        assert await broker.slots.acquire("api", "one", 2, 60)
        assert await broker.slots.acquire("api", "three", 2, 60) is None

    @rule
    async def test_a_slot_that_is_not_renewed_is_free_after_its_lease(self, bench: Bench) -> None:
        gone, waiting = await bench.broker(), await bench.broker()
        await gone.slots.acquire("database", "gone", 1, 1)

        async def acquired() -> bool:
            return await waiting.slots.acquire("database", "waiting", 1, 60) is not None

        started = time.time()
        await eventually(acquired, "the lease ends")
        assert time.time() - started > 0.5

    @rule
    async def test_a_slot_that_is_renewed_outlives_its_first_lease(self, bench: Bench) -> None:
        one, other = await bench.broker(), await bench.broker()
        await one.slots.acquire("database", "one", 1, 1)
        await one.slots.acquire("database", "one", 1, 60)
        await asyncio.sleep(1.5)
        assert await other.slots.acquire("database", "other", 1, 60) is None

    @rule
    async def test_holders_are_listed_with_the_end_of_their_lease(self, bench: Bench) -> None:
        one, other = await bench.broker(), await bench.broker()
        assert await other.slots.holders("api") == []
        before = time.time()
        token = await one.slots.acquire("api", "a holder", 3, 60)
        await one.slots.acquire("api", "another", 3, 5)
        await one.slots.acquire("database", "a third", 1, 5)
        found = {who: until - before for who, until in await other.slots.holders("api")}
        assert sorted(found) == ["a holder", "another"]
        # To the second: a broker may count in those.
        assert 59 < found["a holder"] < 75
        assert 4 < found["another"] < 20
        assert token is not None
        await other.slots.release("api", token)
        assert [who for who, _ in await one.slots.holders("api")] == ["another"]

    @rule
    async def test_a_slot_is_handed_on_by_its_token(self, bench: Bench) -> None:
        one, other = await bench.broker(), await bench.broker()
        token = await one.slots.acquire("api", "one", 2, 60)
        assert await one.slots.acquire("api", "two", 2, 60)
        handed = await other.slots.acquire("api", "three", 2, 60, token=token)
        assert handed not in (None, token)
        assert {holder for holder, _ in await one.slots.holders("api")} == {"two", "three"}
        # Once: the token is valid no more.
        assert await one.slots.acquire("api", "four", 2, 60, token=token) is None
        # There may be fewer slots than before.
        assert await one.slots.acquire("api", "four", 1, 60, token=handed)
        assert {holder for holder, _ in await one.slots.holders("api")} == {"two", "four"}

    @rule
    async def test_of_two_who_get_the_same_token_one_gets_the_slot(self, bench: Bench) -> None:
        brokers = [await bench.broker() for _ in range(3)]
        token = await brokers[0].slots.acquire("database", "one", 1, 60)
        got = await asyncio.gather(
            *(
                brokers[n % 3].slots.acquire("database", f"holder-{n}", 1, 60, token=token)
                for n in range(12)
            )
        )
        assert sum(one is not None for one in got) == 1

    @rule
    async def test_a_renewal_ends_the_token_before(self, bench: Bench) -> None:
        broker = await bench.broker()
        first = await broker.slots.acquire("database", "one", 1, 60)
        second = await broker.slots.acquire("database", "one", 1, 60, token=first)
        third = await broker.slots.acquire("database", "one", 1, 60)
        assert len({first, second, third}) == 3
        for over in (first, second):
            assert over is not None
            await broker.slots.release("database", over)
            assert await broker.slots.acquire("database", "other", 1, 60, token=over) is None

    @rule
    async def test_with_a_limit_of_none_only_what_one_has_is_renewed(self, bench: Bench) -> None:
        broker = await bench.broker()
        assert await broker.slots.acquire("api", "one", 0, 60) is None
        assert await broker.slots.acquire("api", "one", 2, 60)
        assert await broker.slots.acquire("api", "one", 0, 60)
        assert await broker.slots.acquire("api", "two", 0, 60) is None

    @rule
    async def test_what_is_no_token_frees_and_takes_nothing(self, bench: Bench) -> None:
        broker = await bench.broker()
        token = await broker.slots.acquire("database", "one", 1, 60)
        numbers = ("0.", "0.0", "7.0", ".1", "0.-1", "é.²", "9" * 5000)
        for wrong in ("", "one", "0.1\r\nX: y", ">.*", *numbers):
            await broker.slots.release("database", wrong)
            assert await broker.slots.acquire("database", "two", 1, 60, token=wrong) is None
        assert token is not None
        await broker.slots.release("nothing at all", "0.999999")
        assert [holder for holder, _ in await broker.slots.holders("database")] == ["one"]

    @rule
    async def test_names_are_kept_apart_whatever_characters_they_have(self, bench: Bench) -> None:
        broker = await bench.broker()
        names = ["api", "API", "api.calls", "api calls", "api/*", "api>", "apí", "api.>"]
        for name in names:
            assert await broker.slots.acquire(name, "host.example.org one", 1, 60)
            assert await broker.slots.acquire(name, "host.example.org two", 1, 60) is None
            assert await broker.counters.add(name) == 1
        token = await broker.slots.acquire("api", "host.example.org one", 1, 60)
        assert token is not None
        await broker.slots.release("api", token)
        assert await broker.slots.acquire("api.calls", "host.example.org two", 1, 60) is None


class HeartbeatContract(Contract):
    """Rules for `Heartbeats`."""

    @rule
    async def test_living_workers_are_listed_with_what_they_say(self, bench: Bench) -> None:
        one, other = await bench.broker(), await bench.broker()
        await one.heartbeats.beat("host.example.org-1", b"\x00 info \xff", 60)
        await other.heartbeats.beat("host-2", b"", 60)
        assert sorted(await one.heartbeats.living()) == [
            ("host-2", b""),
            ("host.example.org-1", b"\x00 info \xff"),
        ]

    @rule
    async def test_nobody_lives_at_first(self, bench: Bench) -> None:
        assert await (await bench.broker()).heartbeats.living() == []

    @rule
    async def test_a_worker_is_listed_once_with_what_it_said_last(self, bench: Bench) -> None:
        broker = await bench.broker()
        await broker.heartbeats.beat("host-1", b"idle", 60)
        await broker.heartbeats.beat("host-1", b"busy", 60)
        assert await broker.heartbeats.living() == [("host-1", b"busy")]

    @rule
    async def test_a_worker_that_says_nothing_more_is_forgotten(self, bench: Bench) -> None:
        broker = await bench.broker()
        await broker.heartbeats.beat("silent-1", b"", 1)
        await broker.heartbeats.beat("living-1", b"", 60)

        async def forgotten() -> bool:
            return [name for name, _ in await broker.heartbeats.living()] == ["living-1"]

        await eventually(forgotten, "the silent worker is forgotten")

    @rule
    async def test_a_worker_that_speaks_again_is_not_forgotten(self, bench: Bench) -> None:
        broker = await bench.broker()
        await broker.heartbeats.beat("host-1", b"", 1)
        await broker.heartbeats.beat("host-1", b"", 60)
        await asyncio.sleep(1.5)
        assert [name for name, _ in await broker.heartbeats.living()] == ["host-1"]
