"""Rules for the event log."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from jtask.contract import Event, Broker
from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, eventually, until


def _event(run_id: str, state: str = "Running") -> Event:
    return Event(run_id, state, time.time(), "reports.build")


async def _read(broker: Broker, since: float | None = None) -> list[Event]:
    return [event async for event in broker.events.read(since=since)]


async def _until_kept(broker: Broker, events: Sequence[Event]) -> None:
    async def kept() -> bool:
        return {event.run_id for event in await _read(broker)} >= {it.run_id for it in events}

    await eventually(kept, "the events are kept")


@dataclass
class _Follower:
    seen: list[Event] = field(default_factory=list[Event])

    async def run(self, broker: Broker) -> None:
        async for event in broker.follow():
            self.seen.append(event)


@contextlib.asynccontextmanager
async def _following(bench: Bench, broker: Broker) -> AsyncGenerator[list[Event], None]:
    """Follow the events, from a moment at which some have been seen to arrive."""
    follower = _Follower()
    task = asyncio.create_task(follower.run(broker))

    async def arriving() -> bool:
        broker.events.append([_event(bench.run_ids.new(), "Sentinel")])
        return bool(follower.seen)

    try:
        await eventually(arriving, "events arrive")
        yield follower.seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class EventLogContract(Contract):
    """Rules for `EventLog`."""

    @rule
    async def test_events_are_read_back_by_any_client_with_all_they_say(self, bench: Bench) -> None:
        writer, reader = await bench.broker(), await bench.broker()
        run_id = bench.run_ids.new()
        event = Event(run_id, "AwaitingRetry", 1234567890.25, "reports.build", 3, "host-1", "ärger")
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
    async def test_a_follower_sees_events_as_they_arrive_in_order(self, bench: Bench) -> None:
        writer, reader = await bench.broker(), await bench.broker()
        events = [_event(run_id) for run_id in bench.run_ids.new_many(100)]
        async with _following(bench, reader) as seen:
            for start in range(0, 100, 9):
                writer.events.append(events[start : start + 9])
            await until(lambda: events[-1] in seen, "the last event arrives")
            assert [event for event in seen if event.state != "Sentinel"] == events

    @rule
    async def test_a_follower_does_not_see_what_was_before(self, bench: Bench) -> None:
        broker = await bench.broker()
        broker.events.append([before := _event(bench.run_ids.new())])
        await _until_kept(broker, [before])
        async with _following(bench, broker) as seen:
            assert before not in seen

    @rule
    async def test_every_follower_sees_all_events(self, bench: Bench) -> None:
        writer, one, other = [await bench.broker() for _ in range(3)]
        event = _event(bench.run_ids.new())
        async with _following(bench, one) as seen_by_one, _following(bench, other) as seen_by_other:
            writer.events.append([event])
            await until(lambda: event in seen_by_one, "one follower sees the event")
            await until(lambda: event in seen_by_other, "the other follower sees the event")
