"""Rules for what is too big for a message."""

import asyncio

from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, eventually


class BlobStoreContract(Contract):
    """Rules for `BlobStore`."""

    @rule
    async def test_a_blob_that_is_larger_than_expected_is_none(self, bench: Bench) -> None:
        broker = await bench.broker()
        key = f"{bench.run_ids.new()}.args"
        await broker.blobs.put(key, b"x" * 3_000_000)
        await broker.blobs.put(key, b"x" * 2_000_000)
        assert await broker.blobs.get(key, at_most=1_999_999) is None
        found = await broker.blobs.get(key, at_most=2_000_000)
        assert found is not None
        assert len(found) == 2_000_000

    @rule
    async def test_a_blob_is_read_back_by_any_client(self, bench: Bench) -> None:
        writer, reader = await bench.broker(), await bench.broker()
        key = f"{bench.run_ids.new()}.arguments"
        await writer.blobs.put(key, b"\x00 any \xff bytes")
        assert await reader.blobs.get(key) == b"\x00 any \xff bytes"

    @rule
    async def test_a_blob_may_be_many_times_as_large_as_a_message(self, bench: Bench) -> None:
        broker = await bench.broker()
        key = f"{bench.run_ids.new()}.value"
        data = bytes(range(251)) * (5 * broker.inline_limit // 251)
        await broker.blobs.put(key, data)
        assert await broker.blobs.get(key) == data

    @rule
    async def test_an_empty_blob_is_a_blob(self, bench: Bench) -> None:
        broker = await bench.broker()
        key = f"{bench.run_ids.new()}.value"
        await broker.blobs.put(key, b"")
        assert await broker.blobs.get(key) == b""

    @rule
    async def test_a_blob_that_was_not_stored_is_not_there(self, bench: Bench) -> None:
        assert await (await bench.broker()).blobs.get(f"{bench.run_ids.new()}.value") is None

    @rule
    async def test_blobs_of_one_run_are_kept_apart(self, bench: Bench) -> None:
        broker = await bench.broker()
        run_id = bench.run_ids.new()
        await broker.blobs.put(f"{run_id}.value", b"value")
        await broker.blobs.put(f"{run_id}.values", b"values")
        assert await broker.blobs.get(f"{run_id}.value") == b"value"
        assert await broker.blobs.get(f"{run_id}.values") == b"values"

    @rule
    async def test_a_blob_stored_again_replaces_the_first(self, bench: Bench) -> None:
        broker = await bench.broker()
        key = f"{bench.run_ids.new()}.value"
        await broker.blobs.put(key, b"x" * 3 * broker.inline_limit)
        await broker.blobs.put(key, b"short")
        assert await broker.blobs.get(key) == b"short"

    @rule
    async def test_a_deleted_blob_is_not_there(self, bench: Bench) -> None:
        broker = await bench.broker()
        run_id = bench.run_ids.new()
        await broker.blobs.put(f"{run_id}.value", b"x" * 3 * broker.inline_limit)
        await broker.blobs.put(f"{run_id}.other", b"kept")
        await broker.blobs.delete(f"{run_id}.value")
        assert await broker.blobs.get(f"{run_id}.value") is None
        assert await broker.blobs.get(f"{run_id}.other") == b"kept"

    @rule
    async def test_deleting_a_blob_that_is_not_there_does_nothing(self, bench: Bench) -> None:
        await (await bench.broker()).blobs.delete(f"{bench.run_ids.new()}.value")

    @rule
    async def test_a_blob_is_kept_until_it_is_deleted(self, bench: Bench) -> None:
        bench.configure(result_ttl=1, event_ttl=1, dead_letter_ttl=1)
        broker = await bench.broker()
        kept, shorter, longer = (f"{bench.run_ids.new()}.args" for _ in range(3))
        await broker.blobs.put(kept, b"kept")
        await broker.blobs.put(longer, b"x", ttl=1)
        await broker.blobs.put(longer, b"x")
        await broker.blobs.put(shorter, b"x")
        await broker.blobs.put(shorter, b"x", ttl=1)

        async def gone() -> bool:
            return await broker.blobs.get(shorter) is None

        await eventually(gone, "the blob with a time to live is gone")
        assert await broker.blobs.get(kept) == b"kept"
        assert await broker.blobs.get(longer) == b"x"

    @rule
    async def test_a_blob_is_whole_while_it_is_stored_again(self, bench: Bench) -> None:
        writer, reader = await bench.broker(), await bench.broker()
        key = f"{bench.run_ids.new()}.args"
        data = bytes(range(251)) * (5 * writer.inline_limit // 251)
        await writer.blobs.put(key, data)
        again = asyncio.ensure_future(writer.blobs.put(key, data, ttl=3600))
        while not again.done():
            await asyncio.sleep(0)
            assert await reader.blobs.get(key) == data
        await again
        assert await reader.blobs.get(key) == data
