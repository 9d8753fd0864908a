"""Keep schedules true to their declarations, and each one's next run in place.

Every step may be interrupted, and done again by any process: the record is changed only over the
revision that was read, and a run that is put in place twice is one run. So each method that changes
a record is a loop: read, decide, store; whoever lost the race reads again and decides anew.
"""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from jtask.contract import Broker, Record
from jtask.errors import JTaskError
from jtask.foreign_text import cut, shown
from jtask.rate_limited_log import RateLimitedLog
from jtask_schedules import decisions
from jtask_schedules.schedule import Declaration, Schedule, Tick, decode_schedule

BUCKET = "schedules"

_log = logging.getLogger("jtask.worker")
_unreadable = RateLimitedLog(60.0)


class ScheduleError(JTaskError):
    """A schedule is not there, or cannot be changed like this."""


class StoredSchedule(NamedTuple):
    """A schedule and the revision of its record."""

    schedule: Schedule
    revision: int


class ScheduleStore:
    """Change schedules and put their runs in place.

    Args:
        broker: Holds both.
        clock: Gives the present instant, seconds since the epoch.
    """

    def __init__(self, broker: Broker, clock: Callable[[], float] = time.time) -> None:
        self._broker = broker
        self._clock = clock

    async def all(self) -> list[Schedule]:
        """Return all schedules, by key, but records that are none."""
        read = map(_read, await self._broker.records.list(BUCKET))
        return [schedule for schedule in read if schedule is not None]

    async def find(self, key: str) -> StoredSchedule | None:
        """Return a schedule; None also for a record that is none."""
        record = await self._broker.records.get(BUCKET, key)
        schedule = None if record is None else _read(record)
        if record is None or schedule is None:
            return None
        return StoredSchedule(schedule, record.revision)

    # --- what workers do -------------------------------------------------------------------

    async def declare(self, declaration: Declaration) -> None:
        """Create, change or renew a schedule, and put its next run in place if need be.

        Args:
            declaration: What a worker's code says.

        Raises:
            BrokerError: The broker cannot be reached, or refuses.
        """
        while True:
            record = await self._broker.records.get(BUCKET, declaration.task)
            # What cannot be read is replaced.
            before = None if record is None else _read(record)
            revision = 0 if record is None else record.revision  # 0: only if there is none yet
            after = decisions.declare(before, declaration, self._clock(), secrets.token_hex(8))
            if after is None or await self._store(revision, after):
                break
        if after is not None:
            # The old run would be refused when it comes; taken off, it does not even come.
            if before is not None and before.chain != after.chain:
                await self._withdraw(before)
            await self.ensure_next_run(declaration.task)
        elif before is not None and before.pending is None:
            # Whoever created it, or resumed it, may have died right after.
            await self.ensure_next_run(declaration.task)

    async def ensure_next_run(self, key: str) -> None:
        """Put a schedule's next run in place if it is not there."""
        while (found := await self.find(key)) is not None and not found.schedule.paused:
            schedule, now = found.schedule, self._clock()
            if decisions.is_ahead(schedule, now):
                await self._set_back(found, now)
                continue
            pending = schedule.pending
            if pending is not None and not await self._is_gone(schedule, pending, now):
                return
            after = decisions.skip(schedule, now)
            # Before the record names it. A death in between leaves a run that no record names, and
            # whoever goes on puts it there again under the same id; the other way round it would
            # leave a record that names no run.
            await self._put_next(after)
            if await self._store(found.revision, after):
                return

    async def admit(self, tick: Tick) -> str | None:
        """Put the next run in place before one starts.

        Args:
            tick: The run that is about to start.

        Returns:
            str | None: Why it must not start, in one sentence; None admits it.

        Raises:
            BrokerError: The next one may not be in place: this one must not start yet.
        """
        while True:
            found = await self.find(tick.key)
            if found is None:
                return "its schedule was removed"
            schedule, now = found.schedule, self._clock()
            if (reason := decisions.refusal(schedule, tick)) is not None:
                return reason
            # Delivered again after its worker died, it may have ended all the same.
            if await self._has_ended(schedule, tick):
                return "it has ended already"
            after = decisions.advance(schedule, tick, now)
            if after.pending != schedule.pending:
                await self._put_next(after)
            if after == schedule or await self._store(found.revision, after):
                if tick.instant not in schedule.started:
                    # Nobody has called it, whose process would have told of it.
                    self._broker.events.append([schedule.event(tick.run_id, tick.instant)])
                late = decisions.is_late(schedule, tick, now)
                return "it was missed, and its schedule skips missed runs" if late else None

    async def admit_undeclared(self, tick: Tick) -> str | None:
        """Say why a run must end that came to a worker whose code has no such schedule.

        Args:
            tick: The run.

        Returns:
            str | None: None while a worker lives that has the schedule: the run is for that one.

        Raises:
            BrokerError: The broker cannot be reached, or refuses.
        """
        found = await self.find(tick.key)
        if found is None:
            return "its schedule was removed"
        if decisions.is_orphaned(found.schedule, self._clock()):
            return "no worker has its schedule any more"
        return decisions.refusal(found.schedule, tick)

    async def sweep(self, lifetime: float) -> list[Schedule]:
        """Remove the schedules that no worker has declared for some seconds, and return them.

        Args:
            lifetime: How many seconds.
        """
        oldest = self._clock() - lifetime
        forgotten: list[Schedule] = []
        for record in await self._broker.records.list(BUCKET):
            schedule = _read(record)
            if schedule is None or schedule.declared >= oldest:
                continue
            # As it was read: a worker may have declared it since, and somebody have paused it.
            if await self._broker.records.delete(BUCKET, record.key, revision=record.revision):
                await self._withdraw(schedule)
                forgotten.append(schedule)
        return forgotten

    # --- what people do --------------------------------------------------------------------

    async def pause(self, key: str) -> None:
        """Let nothing of a schedule start until it is resumed.

        Raises:
            ScheduleError: There is no such schedule.
        """
        while True:
            found = await self._existing(key)
            after = replace(found.schedule, paused=True, pending=None)
            if found.schedule.paused or await self._store(found.revision, after):
                break
        # After the record, which refuses a run that comes in between, and one that stays because
        # this process dies here.
        await self._withdraw(found.schedule)

    async def resume(self, key: str) -> None:
        """Go on with a paused schedule, from its next instant.

        Raises:
            ScheduleError: There is no such schedule.
        """
        while True:
            found = await self._existing(key)
            # A new chain: brokers do not store a run again that was taken back a moment ago.
            chain = secrets.token_hex(8)
            after = replace(found.schedule, paused=False, pending=None, chain=chain)
            if not found.schedule.paused or await self._store(found.revision, after):
                break
        await self.ensure_next_run(key)

    async def remove(self, key: str, *, declared_too: bool = False) -> None:
        """Forget a schedule and take back its pending run.

        Args:
            key: The schedule.
            declared_too: Even if a living worker declares it, and so will create it anew.

        Raises:
            ScheduleError: There is no such schedule, or a living worker declares it.
        """
        schedule = (await self._existing(key)).schedule
        now = self._clock()
        if not declared_too and not decisions.is_orphaned(schedule, now):
            age = now - schedule.declared
            raise ScheduleError(
                f"a worker declared the schedule of {schedule.declaration.name!r} {age:.0f} s ago "
                "and would create it again: pause it, or stop the worker and use --force"
            )
        await self._remove(schedule)

    async def run_now(self, key: str, run_id: str) -> None:
        """Start a schedule's task once, at once; the schedule goes on as before.

        Raises:
            ScheduleError: There is no such schedule.
        """
        schedule = (await self._existing(key)).schedule
        # Without the header of a schedule's run: it starts although the schedule is paused, and the
        # next run is none of its business.
        now = self._clock()
        await self._broker.runs.enqueue([schedule.message_now(run_id, now)])
        self._broker.events.append([schedule.event(run_id, now)])

    # --- steps -----------------------------------------------------------------------------

    async def _existing(self, key: str) -> StoredSchedule:
        found = await self.find(key)
        if found is None:
            raise ScheduleError(f"there is no schedule {key!r}: `jtask schedules ls` lists them")
        return found

    async def _store(self, revision: int, schedule: Schedule) -> bool:
        return await self._broker.records.put(
            BUCKET, schedule.key, schedule.encode(), revision=revision
        )

    async def _put_next(self, schedule: Schedule) -> None:
        if schedule.pending is not None:
            await self._broker.runs.enqueue([schedule.message(schedule.pending)])

    async def _withdraw(self, schedule: Schedule) -> None:
        if schedule.pending is not None:
            await self._broker.runs.cancel(schedule.run_id(schedule.pending))

    async def _set_back(self, found: StoredSchedule, now: float) -> None:
        # The record first, as in `pause`.
        after = decisions.set_back(found.schedule, now, secrets.token_hex(8))
        if await self._store(found.revision, after):
            await self._withdraw(found.schedule)

    async def _remove(self, schedule: Schedule) -> None:
        # In this order: a run that comes without its record is refused, while a record without its
        # run would have a worker put the run in place again.
        await self._broker.records.delete(BUCKET, schedule.key)
        await self._withdraw(schedule)

    async def _has_ended(self, schedule: Schedule, tick: Tick) -> bool:
        """Tell whether a run that was let start before has its outcome."""
        return (
            tick.instant in schedule.started
            and await self._broker.results.get(tick.run_id) is not None
        )

    async def _is_gone(self, schedule: Schedule, pending: float, now: float) -> bool:
        """Tell whether a pending run will not come any more; put one in place that can come yet.

        It was cancelled, or a worker without this schedule executed it, or its queue was purged.
        """
        run_id = schedule.run_id(pending)
        if await self._broker.results.get(run_id) is not None:
            return True
        if await self._broker.queues.find(run_id) is not None:
            return False
        # It waits nowhere: a worker has it, or its enqueueing never happened. Doing that again is
        # harmless while the instant is well ahead.
        if pending - now > decisions.SETTLED_AHEAD_SECONDS:
            await self._put_next(schedule)
        # Late by a little, it is in a worker's hands that is about to ask for the next one.
        return now - pending > decisions.OVERDUE_SECONDS


def _read(record: Record) -> Schedule | None:
    try:
        return decode_schedule(record.key, record.body)
    except ValueError as error:
        if count := _unreadable.count(record.key):
            key, problem = shown(cut(record.key, 128)), shown(cut(str(error), 500))
            _log.warning("schedule %s cannot be read, for the %dth time: %s", key, count, problem)
        return None
