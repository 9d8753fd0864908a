"""Rules for the event log."""

import asyncio
import time
from collections.abc import Sequence

from jtask.contract import Broker, Event, EventGroup
from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, eventually, until


def _event(run_id: str, state: str = "Running") -> Event:
    return Event(run_id, state, time.time(), "reports.build")


async def _read(broker: Broker, since: float | None = None) -> list[Event]:
    return [event async for event in broker.events.read(since=since)]


async def _pages(broker: Broker, after: int) -> tuple[list[Event], int]:
    events: list[Event] = []
    async for page in broker.events.read_pages(after=after):
        assert after < page.first <= page.position
        events += page.events
        after = page.position
    return events, after


async def _until_kept(broker: Broker, events: Sequence[Event]) -> None:
    async def kept() -> bool:
        return {event.run_id for event in await _read(broker)} >= {it.run_id for it in events}

    await eventually(kept, "the events are kept")


class EventLogContract(Contract):
    """Rules for `EventLog`."""

    @rule
    async def test_events_are_read_back_by_any_client_with_all_they_say(self, bench: Bench) -> None:
        writer, reader = await bench.broker(), await bench.broker()
        run_id = bench.run_ids.new()
        event = Event(run_id, "AwaitingRetry", 1234567890.25, "reports.build", 3, "host-1", "ärger")
        parent, tags = bench.run_ids.new(), ("eu", "web")
        event = event._replace(until=1234567899.5, tags=tags, parent=parent)
        event = event._replace(version="7", queue="reports", arguments='{"to": "ärger"}')
        event = event._replace(error="ValueError", trace_id="4bf92f3577b34da6a3ce929d0e0e4736")
        writer.events.append([event])
        await _until_kept(reader, [event])
        assert await _read(reader) == [event]

    @rule
    async def test_events_are_read_in_the_order_in_which_they_were_appended(
        self, bench: Bench
    ) -> None:
        broker = await bench.broker()
        events = [_event(run_id) for run_id in bench.run_ids.new_many(300)]
        for start in range(0, 300, 7):
            broker.events.append(events[start : start + 7])
        await _until_kept(broker, events)
        assert await _read(broker) == events

    @rule
    async def test_a_group_of_events_is_read_back_as_its_events(self, bench: Bench) -> None:
        broker, run_ids = await bench.broker(), bench.run_ids.new_many(40)
        arguments = [f'{{"to":"\\"ärger\\" {number}"}}' for number in range(40)]
        common = Event("", "Scheduled", 1234567890.25, "reports.build", queue="reports")
        group = EventGroup(common, run_ids, arguments, ["4bf92f3577b34da6a3ce929d0e0e4736"] * 40)
        broker.events.append(group)
        await _until_kept(broker, group)
        assert sorted(await _read(broker)) == sorted(group)

    @rule
    async def test_reading_ends_when_nothing_is_kept(self, bench: Bench) -> None:
        assert await _read(await bench.broker()) == []

    @rule
    async def test_an_empty_batch_of_events_is_no_event(self, bench: Bench) -> None:
        broker = await bench.broker()
        broker.events.append([])
        broker.events.append([event := _event(bench.run_ids.new())])
        await _until_kept(broker, [event])
        assert await _read(broker) == [event]

    @rule
    async def test_reading_since_an_instant_skips_what_was_appended_before(
        self, bench: Bench
    ) -> None:
        broker = await bench.broker()
        broker.events.append([before := _event(bench.run_ids.new())])
        await _until_kept(broker, [before])
        since = time.time()
        broker.events.append([after := _event(bench.run_ids.new())])
        await _until_kept(broker, [after])
        assert await _read(broker, since) == [after]

    @rule
    async def test_events_appended_just_before_the_client_closes_are_kept(
        self, bench: Bench
    ) -> None:
        leaving, reader = await bench.broker(), await bench.broker()
        events = [_event(run_id) for run_id in bench.run_ids.new_many(20)]
        leaving.events.append(events)
        await leaving.close()
        await _until_kept(reader, events)

    @rule
    async def test_the_events_of_one_run_are_read_alone_in_order(self, bench: Bench) -> None:
        writer, reader = await bench.broker(), await bench.broker()
        run_ids = bench.run_ids.new_many(40)
        states = ("Scheduled", "Pending", "Running", "Completed")
        for state in states:
            writer.events.append([_event(run_id, state) for run_id in run_ids])

        async def kept() -> bool:
            return len(await _read(reader)) == len(run_ids) * len(states)

        await eventually(kept, "the events are kept")
        for run_id in (run_ids[0], run_ids[17], run_ids[-1]):
            found = [event async for event in reader.events.read_run(run_id)]
            assert [(event.run_id, event.state) for event in found] == [(run_id, s) for s in states]

    @rule
    async def test_a_run_without_events_has_none(self, bench: Bench) -> None:
        broker = await bench.broker()
        broker.events.append([other := _event(bench.run_ids.new())])
        await _until_kept(broker, [other])
        found = [event async for event in broker.events.read_run(bench.run_ids.new())]
        assert found == []

    @rule
    async def test_the_events_of_one_run_can_be_read_from_an_instant_on(self, bench: Bench) -> None:
        broker = await bench.broker()
        run_id = bench.run_ids.new()
        broker.events.append([before := _event(run_id, "Scheduled")])
        await _until_kept(broker, [before])
        since = time.time()
        broker.events.append([after := _event(run_id, "Running")])

        async def kept() -> bool:
            return after in await _read(broker)

        await eventually(kept, "the second event is kept")
        assert [event async for event in broker.events.read_run(run_id, since=since)] == [after]

    @rule
    async def test_events_are_read_by_pages_and_on_from_where_a_page_ended(
        self, bench: Bench
    ) -> None:
        broker = await bench.broker()
        events = [_event(run_id) for run_id in bench.run_ids.new_many(60)]
        broker.events.append(events[:30])
        await _until_kept(broker, events[:30])
        read, position = await _pages(broker, 0)
        broker.events.append(events[30:])
        await _until_kept(broker, events)
        rest, last = await _pages(broker, position)
        assert set(read) == set(events[:30])
        assert set(rest) == set(events[30:])
        assert last > position
        assert await _pages(broker, last) == ([], last)

    @rule
    async def test_the_bounds_of_a_log_tell_where_its_pages_begin_and_end(
        self, bench: Bench
    ) -> None:
        broker = await bench.broker()
        nothing = await broker.events.bounds()
        assert (nothing.first, nothing.last) == (1, 0)
        broker.events.append([event := _event(bench.run_ids.new())])
        await _until_kept(broker, [event])
        bounds = await broker.events.bounds()
        pages = [page async for page in broker.events.read_pages()]
        assert bounds.identity == nothing.identity
        assert (bounds.first, bounds.last) == (pages[0].first, pages[-1].position)

    @rule
    async def test_who_watches_the_log_is_told_of_events_of_any_client(self, bench: Bench) -> None:
        writer, reader = await bench.broker(), await bench.broker()
        news = asyncio.Event()
        subscription = await reader.events.watch(news.set)
        for event in map(_event, bench.run_ids.new_many(3)):
            news.clear()
            writer.events.append([event])
            await until(news.is_set, "the news has come")
        await subscription.close()

    @rule
    async def test_events_are_kept_for_their_time(self, bench: Bench) -> None:
        bench.configure(event_ttl=1)
        broker = await bench.broker()
        broker.events.append([event := _event(bench.run_ids.new())])

        async def was_kept() -> bool:
            return (await broker.events.bounds()).last > 0

        async def is_gone() -> bool:
            bounds = await broker.events.bounds()
            return await _read(broker) == [] and bounds.first == bounds.last + 1

        await eventually(was_kept, "the event is kept")
        await eventually(is_gone, "the event is gone")
        assert [found async for found in broker.events.read_run(event.run_id)] == []
