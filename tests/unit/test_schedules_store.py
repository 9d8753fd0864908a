"""What becomes of a schedule: declared, changed, paused, removed, missed; on a virtual clock."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from jtask.contract import Message, OutcomeRecord, Record, WaitingRun
from jtask.ids import created_at, get_run_ids, is_run_id
from jtask.settings import Settings
from jtask.wire.envelope import decode_envelope
from jtask_memory import MemoryBroker, Storage, VirtualClock
from jtask_schedules.decisions import LAPSE_SECONDS, RENEW_SECONDS
from jtask_schedules.schedule import Declaration, Schedule, Tick, tick_of
from jtask_schedules.schedule_store import ScheduleError, ScheduleStore

KEY = "sweep"
DECLARED = Declaration(
    task=KEY,
    name="Sweep",
    queue="chores",
    priority=0,
    serializer="json",
    payload="e30=",
    tags=("night",),
    cron="0 * * * *",
    every=None,
    timezone="UTC",
    missed="coalesce",
)
SKIPPING = replace(DECLARED, missed="skip")
HOUR = 3600.0
BEGIN = 1_000_000 * HOUR + 1800.0  # half past


class House:
    """A broker with a clock, and what a test wants to know of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.clock = VirtualClock(BEGIN)
        self.broker = MemoryBroker("memory://store", Storage(self.clock, Settings()), loop)
        self.store = ScheduleStore(self.broker, self.clock.time)

    async def pending(self) -> list[WaitingRun]:
        return [one async for one in self.broker.queues.waiting("chores")]

    async def schedule(self) -> Schedule:
        found = await self.store.find(KEY)
        assert found is not None
        return found.schedule

    async def due(self) -> Tick:
        """Let time pass until the pending run is due, and take it."""
        [run] = await self.pending()
        assert run.at is not None
        self.clock.advance(run.at - self.clock.time())
        tick = tick_of(run.run_id, decode_envelope(run.body).headers)
        assert tick is not None
        assert await self.broker.runs.cancel(run.run_id)  # in a worker's hands, it waits no more
        return tick


def in_a_house(test: Callable[[House], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on a loop of its own."""

    def run() -> None:
        async def built() -> None:
            await test(House(asyncio.get_running_loop()))

        asyncio.run(built())

    run.__name__ = test.__name__
    return run


@in_a_house
async def test_ten_workers_that_declare_a_schedule_put_one_run(house: House) -> None:
    await asyncio.gather(*(house.store.declare(DECLARED) for _ in range(10)))
    [run] = await house.pending()
    assert run.at == BEGIN + 1800


@in_a_house
async def test_a_run_of_a_schedule_carries_what_its_task_needs(house: House) -> None:
    await house.store.declare(DECLARED)
    [run] = await house.pending()
    envelope = decode_envelope(run.body)
    assert is_run_id(run.run_id)
    assert created_at(run.run_id) == envelope.created == run.at
    assert (envelope.task_key, envelope.task_name, envelope.tags) == (KEY, "Sweep", ("night",))
    assert (envelope.serializer, envelope.payload) == ("json", b"{}")


@in_a_house
async def test_the_next_run_is_in_place_before_one_starts(house: House) -> None:
    await house.store.declare(DECLARED)
    tick = await house.due()
    assert await house.store.admit(tick) is None
    [run] = await house.pending()
    assert run.at == tick.instant + HOUR


@in_a_house
async def test_a_run_delivered_again_after_a_crash_starts_again_and_adds_none(house: House) -> None:
    await house.store.declare(DECLARED)
    tick = await house.due()
    for _ in range(3):
        assert await house.store.admit(tick) is None
    assert len(await house.pending()) == 1


@in_a_house
async def test_a_run_without_a_schedule_in_the_code_is_for_a_worker_that_has_it(
    house: House,
) -> None:
    await house.store.declare(DECLARED)
    tick = await house.due()
    await house.store.declare(DECLARED)  # by a worker that lives
    house.clock.advance(LAPSE_SECONDS)
    assert await house.store.admit_undeclared(tick) is None
    house.clock.advance(0.1)
    assert await house.store.admit_undeclared(tick) == "no worker has its schedule any more"
    await house.store.remove(KEY)
    assert await house.store.admit_undeclared(tick) == "its schedule was removed"


@in_a_house
async def test_a_void_run_ends_wherever_it_comes(house: House) -> None:
    await house.store.declare(DECLARED)
    tick = await house.due()
    await house.store.declare(DECLARED)
    await house.store.pause(KEY)
    assert await house.store.admit_undeclared(tick) == "its schedule is paused"


@in_a_house
async def test_a_run_that_has_ended_does_not_start_again(house: House) -> None:
    await house.store.declare(DECLARED)
    tick = await house.due()
    assert await house.store.admit(tick) is None
    await house.broker.results.put(OutcomeRecord(tick.run_id, b""))
    assert await house.store.admit(tick) == "it has ended already"


@in_a_house
async def test_what_was_missed_is_one_late_run(house: House) -> None:
    await house.store.declare(DECLARED)
    tick = await house.due()
    house.clock.advance(10.5 * HOUR)
    assert await house.store.admit(tick) is None
    [run] = await house.pending()
    assert run.at == tick.instant + 11 * HOUR


@in_a_house
async def test_what_was_missed_is_left_out_when_told_so(house: House) -> None:
    await house.store.declare(SKIPPING)
    tick = await house.due()
    house.clock.advance(61)
    assert "skips" in str(await house.store.admit(tick))
    [run] = await house.pending()
    assert run.at == tick.instant + HOUR
    assert (await house.schedule()).last is None


@in_a_house
async def test_a_run_that_is_hardly_late_is_not_left_out(house: House) -> None:
    await house.store.declare(SKIPPING)
    tick = await house.due()
    house.clock.advance(59)
    assert await house.store.admit(tick) is None


@in_a_house
async def test_a_run_that_started_in_time_is_not_left_out_after_a_crash(house: House) -> None:
    await house.store.declare(SKIPPING)
    tick = await house.due()
    assert await house.store.admit(tick) is None
    house.clock.advance(10 * HOUR)
    assert await house.store.admit(tick) is None


@in_a_house
async def test_an_older_run_that_a_later_one_made_up_for_does_not_start(house: House) -> None:
    await house.store.declare(DECLARED)
    older = await house.due()
    house.clock.advance(HOUR)
    later = older._replace(run_id=get_run_ids().new(), instant=older.instant + HOUR)
    assert await house.store.admit(later) is None
    assert "made up" in str(await house.store.admit(older))


@in_a_house
async def test_a_changed_declaration_takes_over_at_once(house: House) -> None:
    await house.store.declare(DECLARED)
    [before] = await house.pending()
    await house.store.declare(replace(DECLARED, cron="15 * * * *"))
    [run] = await house.pending()
    assert run.at == BEGIN + 45 * 60
    old = tick_of(before.run_id, decode_envelope(before.body).headers)
    assert old is not None
    assert "changed" in str(await house.store.admit(old))
    assert len(await house.pending()) == 1


@in_a_house
async def test_older_workers_do_not_take_a_schedule_back_while_newer_ones_live(
    house: House,
) -> None:
    newer = replace(DECLARED, cron="15 * * * *")
    await house.store.declare(DECLARED)
    await house.store.declare(newer)
    for _ in range(10):
        house.clock.advance(RENEW_SECONDS)
        await house.store.declare(DECLARED)
        await house.store.declare(newer)
        assert (await house.schedule()).declaration == newer


@in_a_house
async def test_an_older_version_takes_over_when_the_newer_one_is_taken_back(house: House) -> None:
    await house.store.declare(DECLARED)
    await house.store.declare(replace(DECLARED, cron="15 * * * *"))
    house.clock.advance(LAPSE_SECONDS + 1)
    await house.store.declare(DECLARED)
    assert (await house.schedule()).declaration == DECLARED
    [run] = await house.pending()
    assert run.at == BEGIN + 1800


@in_a_house
async def test_a_changed_queue_moves_the_pending_run(house: House) -> None:
    await house.store.declare(DECLARED)
    await house.store.declare(replace(DECLARED, queue="others"))
    assert await house.pending() == []
    assert len([one async for one in house.broker.queues.waiting("others")]) == 1


@in_a_house
async def test_nothing_of_a_paused_schedule_is_pending_or_starts(house: House) -> None:
    await house.store.declare(DECLARED)
    tick = await house.due()
    await house.store.pause(KEY)
    assert "paused" in str(await house.store.admit(tick))
    house.clock.advance(RENEW_SECONDS)
    await house.store.declare(DECLARED)
    await house.store.declare(replace(DECLARED, cron="15 * * * *"))
    assert await house.pending() == []


@in_a_house
async def test_a_schedule_that_is_resumed_at_once_has_its_run_again(house: House) -> None:
    await house.store.declare(DECLARED)
    await house.store.pause(KEY)
    await house.store.resume(KEY)
    [run] = await house.pending()
    assert run.at == BEGIN + 1800


@in_a_house
async def test_a_purged_queue_gets_its_run_again(house: House) -> None:
    await house.store.declare(DECLARED)
    [run] = await house.pending()
    house.clock.advance(60)
    await house.broker.runs.cancel(run.run_id)
    await house.store.declare(DECLARED)
    assert [one.run_id for one in await house.pending()] == [run.run_id]


async def cancel_pending(house: House) -> None:
    """Cancel the run that is pending, and let the schedule be renewed."""
    [run] = await house.pending()
    await house.broker.runs.cancel(run.run_id)
    await house.broker.results.put(OutcomeRecord(run.run_id, b""))
    house.clock.advance(RENEW_SECONDS)
    await house.store.declare(DECLARED)


@in_a_house
async def test_a_cancelled_run_is_left_out_and_the_schedule_goes_on(house: House) -> None:
    await house.store.declare(DECLARED)
    await cancel_pending(house)
    [following] = await house.pending()
    assert following.at == BEGIN + 1800 + HOUR


@in_a_house
async def test_several_runs_that_are_cancelled_stay_left_out(house: House) -> None:
    await house.store.declare(DECLARED)
    for number in range(1, 4):
        await cancel_pending(house)
        [following] = await house.pending()
        assert following.at == BEGIN + 1800 + number * HOUR


@pytest.mark.parametrize("ahead", [5 * HOUR, 10 * 365 * 24 * HOUR])
def test_a_clock_that_was_ahead_stops_no_schedule(ahead: float) -> None:
    @in_a_house
    async def test(house: House) -> None:
        wrong = ScheduleStore(house.broker, lambda: house.clock.time() + ahead)
        await house.store.declare(DECLARED)
        tick = await house.due()
        await wrong.declare(DECLARED)
        assert await wrong.admit(tick) is None
        [far] = await house.pending()
        house.clock.advance(RENEW_SECONDS)
        await house.store.declare(DECLARED)
        [run] = await house.pending()
        assert run.at == tick.instant + HOUR
        following = await house.due()
        assert await house.store.admit(following) is None
        [run] = await house.pending()
        assert run.at == tick.instant + 2 * HOUR
        void = tick_of(far.run_id, decode_envelope(far.body).headers)
        assert void is not None
        assert await house.store.admit(void) == "its schedule has changed"

    test()


@in_a_house
async def test_a_run_that_a_clock_ahead_let_start_early_does_not_start_again(house: House) -> None:
    wrong = ScheduleStore(house.broker, lambda: house.clock.time() + HOUR)
    await house.store.declare(DECLARED)
    tick = await house.due()
    assert await house.store.admit(tick) is None
    early = await house.schedule()
    assert early.pending is not None
    next_tick = tick_of(
        early.run_id(early.pending), decode_envelope(early.message(early.pending).body).headers
    )
    assert next_tick is not None
    assert await wrong.admit(next_tick) is None
    house.clock.advance(RENEW_SECONDS)
    await house.store.declare(DECLARED)
    assert (await house.schedule()).pending == tick.instant + 2 * HOUR


@in_a_house
async def test_a_late_run_that_waits_for_a_busy_worker_is_left_there(house: House) -> None:
    await house.store.declare(DECLARED)
    [run] = await house.pending()
    house.clock.advance(2 * HOUR)
    await house.store.declare(DECLARED)
    assert [one.run_id for one in await house.pending()] == [run.run_id]


@in_a_house
async def test_what_nobody_declares_any_more_is_removed_with_its_run(house: House) -> None:
    await house.store.declare(DECLARED)
    await house.store.sweep(600.0)
    assert len(await house.pending()) == 1
    house.clock.advance(601)
    assert [one.key for one in await house.store.sweep(600.0)] == [KEY]
    assert (await house.pending(), await house.store.all()) == ([], [])


@in_a_house
async def test_what_is_declared_again_while_it_is_looked_at_stays_with_its_run(
    house: House,
) -> None:
    await house.store.declare(DECLARED)
    await house.store.pause(KEY)
    house.clock.advance(601)
    records = house.broker.records
    listed = records.list

    async def list_and_declare(bucket: str) -> list[Record]:
        found = await listed(bucket)
        await house.store.declare(DECLARED)
        await house.store.resume(KEY)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "list", list_and_declare)
        assert await house.store.sweep(600.0) == []
    assert not (await house.schedule()).paused
    assert len(await house.pending()) == 1


@in_a_house
async def test_a_run_of_a_removed_schedule_does_not_start(house: House) -> None:
    await house.store.declare(DECLARED)
    tick = await house.due()
    await house.store.remove(KEY, declared_too=True)
    assert "removed" in str(await house.store.admit(tick))


@in_a_house
async def test_a_schedule_that_workers_declare_is_removed_by_force_only(house: House) -> None:
    await house.store.declare(DECLARED)
    with pytest.raises(ScheduleError, match="'Sweep'"):
        await house.store.remove(KEY)
    house.clock.advance(LAPSE_SECONDS + 1)
    await house.store.remove(KEY)
    assert await house.pending() == []


@in_a_house
async def test_a_run_beside_the_schedule_leaves_it_alone(house: House) -> None:
    await house.store.declare(DECLARED)
    run_id = get_run_ids().new()
    await house.store.run_now(KEY, run_id)
    assert {run.run_id: run.at for run in await house.pending()}[run_id] is None
    assert len(await house.pending()) == 2


@in_a_house
async def test_a_schedule_that_is_not_there_cannot_be_changed(house: House) -> None:
    for change in (house.store.pause, house.store.resume, house.store.remove):
        with pytest.raises(ScheduleError, match="no schedule"):
            await change("none")


@in_a_house
async def test_other_runs_are_no_ticks(house: House) -> None:
    run_id = get_run_ids().new()
    await house.broker.runs.enqueue([Message(run_id, "chores", b"")])
    assert tick_of(run_id, {"traceparent": "00"}) is None


@in_a_house
async def test_a_run_that_nobody_has_called_is_told_of_once_as_it_begins(house: House) -> None:
    await house.store.declare(DECLARED)
    tick = await house.due()
    for _ in range(2):  # its first worker is lost
        assert await house.store.admit(tick) is None
    beside = get_run_ids().new()
    await house.store.run_now(KEY, beside)
    told = [event async for event in house.broker.events.read()]
    assert [event.run_id for event in told] == [tick.run_id, beside]
    for event in told:
        assert (event.state, event.queue, event.tags) == ("Scheduled", "chores", ("night",))
        assert event.arguments == "{}"
    assert told[0].at == tick.instant


@in_a_house
async def test_a_worker_whose_clock_is_far_behind_sets_nothing_back(house: House) -> None:
    every_minute = replace(DECLARED, cron="* * * * *")
    await house.store.declare(every_minute)
    for _ in range(120):
        assert await house.store.admit(await house.due()) is None
    before = await house.schedule()
    behind = ScheduleStore(house.broker, lambda: house.clock.time() - 3 * HOUR)
    await behind.declare(every_minute)
    after = await house.schedule()
    assert (after.chain, after.pending, after.covered) == (
        before.chain,
        before.pending,
        before.covered,
    )
