"""Rules for the items of generators, kept as the lines of logs are."""

import asyncio
import time

from jtask.contract import ITEM, Broker, LogLine
from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, eventually, until


def _item(run_id: str, number: int, text: str = "") -> LogLine:
    return LogLine(run_id, time.time(), ITEM, "json", text or str(number), 1, "host-1:a", number)


async def _read(broker: Broker, run_id: str, after: int = 0) -> list[LogLine]:
    return [line async for page in broker.items.read(run_id, after=after) for line in page.lines]


class ItemStoreContract(Contract):
    """Rules for `Broker.items`."""

    @rule
    async def test_items_are_read_by_any_client_in_order_and_apart_from_logs(
        self, bench: Bench
    ) -> None:
        writer, reader = await bench.broker(), await bench.broker()
        run_id, other = bench.run_ids.new_many(2)
        items = [_item(run_id, number) for number in range(1, 21)]
        await writer.items.append([*items[:10], _item(other, 1)])
        await writer.items.append(items[10:])
        assert await _read(reader, run_id) == items
        assert [page async for page in reader.logs.read(run_id)] == []

    @rule
    async def test_items_that_are_appended_again_are_stored_once(self, bench: Bench) -> None:
        broker = await bench.broker()
        run_id = bench.run_ids.new()
        items = [_item(run_id, number) for number in range(1, 4)]
        await broker.items.append(items)
        await broker.items.append(items)
        assert await _read(broker, run_id) == items

    @rule
    async def test_an_item_may_have_half_the_size_of_a_message(self, bench: Bench) -> None:
        broker = await bench.broker()
        run_id = bench.run_ids.new()
        # Quotes take two bytes each where they are written.
        large = _item(run_id, 1, '"' * (broker.inline_limit // 2 - 2048))
        small = _item(run_id, 2)
        await broker.items.append([large, small])
        assert await _read(broker, run_id) == [large, small]

    @rule
    async def test_whoever_watches_a_run_hears_of_its_items(self, bench: Bench) -> None:
        writer, reader = await bench.broker(), await bench.broker()
        run_id = bench.run_ids.new()
        news = asyncio.Event()
        subscription = await reader.items.watch(run_id, news.set)
        await writer.items.append([_item(run_id, 1)])
        await until(news.is_set, "the news has come")
        await subscription.close()

    @rule
    async def test_items_are_kept_for_their_time(self, bench: Bench) -> None:
        bench.configure(item_ttl=1)
        broker = await bench.broker()
        run_id, other = bench.run_ids.new_many(2)
        await broker.items.append([_item(run_id, 1)])

        async def is_gone() -> bool:
            await broker.items.append([_item(other, time.time_ns())])
            return await _read(broker, run_id) == []

        await eventually(is_gone, "the items are gone")
