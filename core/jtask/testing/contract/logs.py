"""Rules for the logs of runs."""

import asyncio
import time

from jtask.contract import Broker, LogLine
from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, eventually, until


def _line(run_id: str, number: int, message: str = "", attempt: int = 1) -> LogLine:
    text = message or f"line {number}"
    return LogLine(run_id, time.time(), 20, "shop", text, attempt, "host-1", number)


async def _read(broker: Broker, run_id: str, after: int = 0) -> list[LogLine]:
    return [line async for page in broker.logs.read(run_id, after=after) for line in page.lines]


class LogStoreContract(Contract):
    """Rules for `LogStore`."""

    @rule
    async def test_lines_are_read_back_by_any_client_with_all_they_say(self, bench: Bench) -> None:
        writer, reader = await bench.broker(), await bench.broker()
        run_id = bench.run_ids.new()
        line = LogLine(run_id, 1234567890.25, 30, "shop.images", "ärger\nin two lines", 3, "w-1", 7)
        await writer.logs.append([line])
        assert await _read(reader, run_id) == [line]

    @rule
    async def test_the_lines_of_a_run_are_read_alone_and_in_order(self, bench: Bench) -> None:
        broker = await bench.broker()
        one, other = bench.run_ids.new_many(2)
        mine = [_line(one, number) for number in range(1, 31)]
        for start in range(0, 30, 7):
            batch = mine[start : start + 7]
            await broker.logs.append([*batch, *(line._replace(run_id=other) for line in batch)])
        assert await _read(broker, one) == mine

    @rule
    async def test_reading_ends_where_a_run_has_logged_nothing(self, bench: Bench) -> None:
        assert await _read(await bench.broker(), bench.run_ids.new()) == []

    @rule
    async def test_lines_that_are_appended_again_are_stored_once(self, bench: Bench) -> None:
        broker = await bench.broker()
        run_id = bench.run_ids.new()
        lines = [_line(run_id, number) for number in range(1, 4)]
        await broker.logs.append(lines)
        await broker.logs.append(lines)
        assert await _read(broker, run_id) == lines

    @rule
    async def test_the_same_numbers_of_another_attempt_are_other_lines(self, bench: Bench) -> None:
        broker = await bench.broker()
        run_id = bench.run_ids.new()
        lines = [_line(run_id, 1, attempt=attempt) for attempt in (1, 2)]
        for line in lines:
            await broker.logs.append([line])
        assert await _read(broker, run_id) == lines

    @rule
    async def test_reading_goes_on_after_a_position(self, bench: Bench) -> None:
        broker = await bench.broker()
        run_id = bench.run_ids.new()
        await broker.logs.append([_line(run_id, 1)])
        pages = [page async for page in broker.logs.read(run_id)]
        await broker.logs.append([later := _line(run_id, 2)])
        assert await _read(broker, run_id, pages[-1].position) == [later]

    @rule
    async def test_a_large_log_is_read_in_pages_of_which_none_has_it_all(
        self, bench: Bench
    ) -> None:
        broker = await bench.broker()
        run_id = bench.run_ids.new()
        lines = [_line(run_id, number, "x" * 10_000) for number in range(1, 2001)]
        for start in range(0, 2000, 100):
            await broker.logs.append(lines[start : start + 100])
        pages = [page async for page in broker.logs.read(run_id)]
        assert [line.number for page in pages for line in page.lines] == list(range(1, 2001))
        assert len(pages) > 1

    @rule
    async def test_whoever_watches_a_run_hears_of_lines_that_are_stored(self, bench: Bench) -> None:
        writer, reader = await bench.broker(), await bench.broker()
        run_id = bench.run_ids.new()
        news = asyncio.Event()
        subscription = await reader.logs.watch(run_id, news.set)
        for number in (1, 2):
            await writer.logs.append([line := _line(run_id, number)])
            await until(news.is_set, "the news has come")
            news.clear()

            async def is_read(line: LogLine = line) -> bool:
                return line in await _read(reader, run_id)

            await eventually(is_read, "the line is read")
        await subscription.close()

    @rule
    async def test_a_closed_watch_hears_nothing(self, bench: Bench) -> None:
        broker = await bench.broker()
        run_id = bench.run_ids.new()
        heard: list[str] = []
        closed = await broker.logs.watch(run_id, lambda: heard.append("closed"))
        await closed.close()
        open_one = await broker.logs.watch(run_id, lambda: heard.append("open"))
        await broker.logs.append([_line(run_id, 1)])
        await until(lambda: heard, "the other one hears of it")
        await open_one.close()
        assert "closed" not in heard

    @rule
    async def test_logs_are_kept_for_their_time(self, bench: Bench) -> None:
        bench.configure(log_ttl=1)
        broker = await bench.broker()
        run_id, other = bench.run_ids.new_many(2)
        await broker.logs.append([_line(run_id, 1)])

        async def is_gone() -> bool:
            await broker.logs.append([_line(other, time.time_ns())])
            return await _read(broker, run_id) == []

        await eventually(is_gone, "the log is gone")

    @rule
    async def test_what_is_no_run_id_has_no_log(self, bench: Bench) -> None:
        broker = await bench.broker()
        await broker.logs.append([_line(bench.run_ids.new(), 1)])
        for text in ("*", ">", ""):
            assert await _read(broker, text) == []
