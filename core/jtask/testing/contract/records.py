"""Rules for small values under keys."""

import asyncio
import time

from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, eventually


class KeyValueStoreContract(Contract):
    """Rules for `KeyValueStore`."""

    @rule
    async def test_a_record_is_returned_as_it_was_stored(self, bench: Bench) -> None:
        one, other = await bench.broker(), await bench.broker()
        assert await one.records.put("schedules", "nightly", b"\x00 any \xff") is True
        record = await other.records.get("schedules", "nightly")
        assert record is not None
        assert (record.key, record.body) == ("nightly", b"\x00 any \xff")

    @rule
    async def test_a_record_that_nobody_stored_is_not_there(self, bench: Bench) -> None:
        broker = await bench.broker()
        assert await broker.records.get("schedules", "nightly") is None
        assert await broker.records.list("schedules") == []
        assert await broker.records.delete("schedules", "nightly") is False

    @rule
    async def test_a_record_with_a_time_to_live_is_deleted_after_it(self, bench: Bench) -> None:
        broker = await bench.broker()
        put = broker.records.put
        stored = time.time()
        await put("cache", "short", b"1", ttl=1.2)
        await put("cache", "long", b"2", ttl=3600.0)
        await put("cache", "kept", b"3", ttl=1.2)
        await put("cache", "kept", b"4")
        assert await broker.records.get("cache", "short") is not None

        async def is_gone() -> bool:
            return await broker.records.get("cache", "short") is None

        await eventually(is_gone, "the record is deleted")
        assert time.time() >= stored + 1.1
        assert [one.key for one in await broker.records.list("cache")] == ["kept", "long"]
        assert await put("cache", "short", b"5", revision=0) is True
        assert await broker.records.delete("cache", "short") is True

    @rule
    async def test_the_last_value_counts_and_has_a_higher_revision(self, bench: Bench) -> None:
        broker = await bench.broker()
        await broker.records.put("schedules", "nightly", b"one")
        first = await broker.records.get("schedules", "nightly")
        await broker.records.put("schedules", "nightly", b"two")
        second = await broker.records.get("schedules", "nightly")
        assert first is not None
        assert second is not None
        assert second.body == b"two"
        assert second.revision > first.revision > 0
        assert await broker.records.list("schedules") == [second]

    @rule
    async def test_a_value_may_be_empty(self, bench: Bench) -> None:
        broker = await bench.broker()
        await broker.records.put("schedules", "nightly", b"")
        record = await broker.records.get("schedules", "nightly")
        assert record is not None
        assert record.body == b""

    @rule
    async def test_a_new_record_is_stored_only_where_there_is_none(self, bench: Bench) -> None:
        broker = await bench.broker()
        assert await broker.records.put("schedules", "nightly", b"one", revision=0) is True
        assert await broker.records.put("schedules", "nightly", b"two", revision=0) is False
        record = await broker.records.get("schedules", "nightly")
        assert record is not None
        assert record.body == b"one"

    @rule
    async def test_a_known_revision_is_replaced_and_another_is_not(self, bench: Bench) -> None:
        broker = await bench.broker()
        await broker.records.put("schedules", "nightly", b"one")
        record = await broker.records.get("schedules", "nightly")
        assert record is not None
        stale = record.revision
        assert await broker.records.put("schedules", "nightly", b"two", revision=stale) is True
        assert await broker.records.put("schedules", "nightly", b"three", revision=stale) is False
        now = await broker.records.get("schedules", "nightly")
        assert now is not None
        assert now.body == b"two"

    @rule
    async def test_a_revision_of_a_record_that_is_not_there_stores_nothing(
        self, bench: Bench
    ) -> None:
        broker = await bench.broker()
        assert await broker.records.put("schedules", "nightly", b"one", revision=7) is False
        assert await broker.records.get("schedules", "nightly") is None

    @rule
    async def test_a_deleted_record_is_not_there(self, bench: Bench) -> None:
        broker = await bench.broker()
        await broker.records.put("schedules", "nightly", b"one")
        await broker.records.put("schedules", "weekly", b"two")
        assert await broker.records.delete("schedules", "nightly") is True
        assert await broker.records.get("schedules", "nightly") is None
        assert [record.key for record in await broker.records.list("schedules")] == ["weekly"]
        assert await broker.records.delete("schedules", "nightly") is False

    @rule
    async def test_a_record_that_was_changed_is_not_deleted_at_its_old_revision(
        self, bench: Bench
    ) -> None:
        broker = await bench.broker()
        put, get, delete = broker.records.put, broker.records.get, broker.records.delete
        await put("schedules", "nightly", b"one")
        await put("schedules", "weekly", b"other")
        old = await get("schedules", "nightly")
        assert old is not None
        await put("schedules", "nightly", b"two")
        assert await delete("schedules", "nightly", revision=old.revision) is False
        new = await get("schedules", "nightly")
        assert new is not None
        assert new.body == b"two"
        assert await delete("schedules", "nightly", revision=new.revision) is True
        assert await get("schedules", "nightly") is None
        assert await delete("schedules", "nightly", revision=new.revision) is False
        assert await put("schedules", "nightly", b"three", revision=0) is True
        assert await delete("schedules", "nightly", revision=new.revision) is False
        assert await get("schedules", "nightly") is not None
        assert await get("schedules", "weekly") is not None

    @rule
    async def test_a_deleted_record_can_be_stored_anew_but_not_over_its_old_revision(
        self, bench: Bench
    ) -> None:
        broker = await bench.broker()
        await broker.records.put("schedules", "nightly", b"one")
        old = await broker.records.get("schedules", "nightly")
        assert old is not None
        await broker.records.delete("schedules", "nightly")
        put = broker.records.put
        assert await put("schedules", "nightly", b"two", revision=old.revision) is False
        assert await put("schedules", "nightly", b"three", revision=0) is True
        assert await put("schedules", "nightly", b"four", revision=old.revision) is False
        new = await broker.records.get("schedules", "nightly")
        assert new is not None
        assert new.body == b"three"
        assert new.revision > old.revision

    @rule
    async def test_of_many_who_replace_a_revision_one_does(self, bench: Bench) -> None:
        brokers = [await bench.broker() for _ in range(3)]

        async def replace(number: int, revision: int) -> bool:
            body = b"%d" % number
            broker = brokers[number % 3]
            return await broker.records.put("schedules", "nightly", body, revision=revision)

        revision = 0
        for _ in range(3):
            won = await asyncio.gather(*(replace(number, revision) for number in range(20)))
            assert sum(won) == 1
            record = await brokers[0].records.get("schedules", "nightly")
            assert record is not None
            assert record.body == b"%d" % won.index(True)
            revision = record.revision

    @rule
    async def test_the_records_of_a_bucket_are_listed_by_key(self, bench: Bench) -> None:
        broker = await bench.broker()
        keys = [f"task-{number}" for number in range(700)]
        await asyncio.gather(
            *(broker.records.put("schedules", key, key.encode()) for key in reversed(keys))
        )
        found = await broker.records.list("schedules")
        assert [record.key for record in found] == sorted(keys)
        assert all(record.body == record.key.encode() for record in found)

    @rule
    async def test_buckets_are_kept_apart(self, bench: Bench) -> None:
        broker = await bench.broker()
        for bucket in ("schedules", "Schedules", "schedules-1", "schedules_1"):
            await broker.records.put(bucket, "nightly", bucket.encode())
        await broker.records.delete("schedules", "nightly")
        assert await broker.records.list("schedules") == []
        assert [one.body for one in await broker.records.list("schedules-1")] == [b"schedules-1"]

    @rule
    async def test_a_key_may_be_any_text_of_two_hundred_characters(self, bench: Bench) -> None:
        broker = await bench.broker()
        keys = ["", "a.b", "a b", "*", ">", "=", "==", "=2e", ".", "Nächte", "a\nb", "\x00", "a/b"]
        keys += ["x" * 200, "x" * 199 + "y", "\U0001f319" * 200, "\U0001f319" * 199 + "."]
        for key in keys:
            assert await broker.records.put("any", key, key.encode(), revision=0) is True
        assert [record.key for record in await broker.records.list("any")] == sorted(keys)
        for key in keys:
            record = await broker.records.get("any", key)
            assert record is not None
            assert (record.key, record.body) == (key, key.encode())
            assert await broker.records.delete("any", key) is True
