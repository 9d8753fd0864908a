"""Whatever happens to a schedule, no instant is run twice, and the schedule never stops.

Workers of two versions of the code come and go on the memory broker with a virtual clock; every
request to the broker may be a process's last.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from jtask.contract import Delivery, OutcomeRecord
from jtask.settings import Settings
from jtask.wire.envelope import decode_envelope
from jtask_memory import MemoryBroker, Storage, VirtualClock
from jtask_schedules.decisions import LAPSE_SECONDS, OVERDUE_SECONDS, RENEW_SECONDS
from jtask_schedules.schedule import Declaration, Tick, tick_of
from jtask_schedules.schedule_store import ScheduleStore

KEY = "sweep"
QUEUE = "chores"
INTERVALS = {"old": 10.0, "new": 5.0}
VERSIONS = st.sampled_from(["old", "new"])
# None: nothing happens. A number: the process dies in place of that request to the broker.
DEATHS = st.none() | st.integers(0, 6)


class Died(Exception):
    """The process was killed."""


class MortalBroker:
    """A broker whose user dies at a chosen request."""

    def __init__(self, broker: MemoryBroker, requests_left: int | None) -> None:
        self._broker = broker
        self._left = requests_left

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if self._left is not None:
            if self._left == 0:
                raise Died
            self._left -= 1
        return cast("Callable[..., Any]", getattr(self._broker, name))


def declaration(version: str) -> Declaration:
    return Declaration(
        task=KEY,
        name=KEY,
        queue=QUEUE,
        priority=0,
        serializer="json",
        payload="e30=",
        tags=(),
        cron=None,
        every=INTERVALS[version],
        timezone="UTC",
        missed="coalesce",
    )


class ScheduleMachine(RuleBasedStateMachine):
    """One schedule, its workers, and whoever runs the commands."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = VirtualClock(1_000_000.0)
        self.broker = MemoryBroker(
            "memory://schedules", Storage(self.clock, Settings()), self.runner.get_loop()
        )
        self.deliveries: list[Delivery] = []
        self.consumption = self.runner.run(
            self.broker.runs.consume([QUEUE], 100, self.deliveries.append)
        )
        self.living: set[str] = set()
        self.ended: Counter[float] = Counter()
        self.ended_at: Counter[float] = Counter()
        self.paused_since: float | None = None
        self.deaths = 0

    def act(
        self, death: int | None, work: Callable[[ScheduleStore], Coroutine[Any, Any, Any]]
    ) -> Any:
        """Do something with the broker that may end half-way."""
        store = ScheduleStore(cast("Any", MortalBroker(self.broker, death)), self.clock.time)
        try:
            return self.runner.run(work(store))
        except Died:
            self.deaths += 1
            raise
        finally:
            self.runner.run(_pass_the_loop())

    def try_to(
        self, death: int | None, work: Callable[[ScheduleStore], Coroutine[Any, Any, Any]]
    ) -> bool:
        try:
            self.act(death, work)
        except Died:
            return False
        return True

    def execute(self, delivery: Delivery, death: int | None, dies: str | None) -> None:
        """Do what a worker does with a run; one that dies leaves it to the next."""
        self.deliveries.remove(delivery)
        tick = self.tick(delivery)
        try:
            refusal = self.act(death, lambda store: store.admit(tick))
        except Died:
            dies, refusal = "while it asks", ""
        if refusal is None and dies != "at work":
            assert self.clock.time() >= tick.instant
            self.ended[tick.instant] += 1
            self.ended_at[self.clock.time()] += 1
        self.deaths += dies is not None
        self.runner.run(self.settle(delivery, dies))

    async def settle(self, delivery: Delivery, dies: str | None) -> None:
        if dies in (None, "before the ack"):
            await self.broker.results.put(OutcomeRecord(delivery.run_id, b""))
        if dies is None:
            delivery.ack()
        else:
            await delivery.release()
        await _pass_the_loop()

    @staticmethod
    def tick(delivery: Delivery) -> Tick:
        tick = tick_of(delivery.run_id, decode_envelope(delivery.body).headers)
        assert tick is not None
        return tick

    @rule(version=VERSIONS, death=DEATHS)
    def a_worker_declares(self, version: str, death: int | None) -> None:
        self.living.add(version)
        self.try_to(death, lambda store: store.declare(declaration(version)))

    @rule(version=VERSIONS)
    def the_last_worker_of_a_version_stops(self, version: str) -> None:
        self.living.discard(version)

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 10.0, 40.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.runner.run(_pass_the_loop())

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data(), death=DEATHS, dies=st.sampled_from([None, "at work", "before the ack"]))
    def a_run_is_executed(self, data: Any, death: int | None, dies: str | None) -> None:
        self.execute(data.draw(st.sampled_from(self.deliveries)), death, dies)

    @precondition(lambda self: self.living)
    @rule(death=DEATHS)
    def somebody_pauses_it(self, death: int | None) -> None:
        if self.runner.run(ScheduleStore(self.broker, self.clock.time).find(KEY)) is None:
            return
        if self.try_to(death, lambda store: store.pause(KEY)):
            self.paused_since = self.clock.time()

    @precondition(lambda self: self.paused_since is not None)
    @rule(death=DEATHS)
    def somebody_resumes_it(self, death: int | None) -> None:
        self.paused_since = None
        self.try_to(death, lambda store: store.resume(KEY))

    @rule()
    def somebody_purges_the_queue(self) -> None:
        async def purge() -> None:
            for waiting in [one async for one in self.broker.queues.waiting(QUEUE)]:
                await self.broker.runs.cancel(waiting.run_id)

        self.runner.run(purge())

    @precondition(lambda self: self.living)
    @rule(paused_before=st.booleans())
    def it_goes_on(self, paused_before: bool) -> None:
        """With one living worker and no further deaths it comes right, and stays so."""
        version = min(self.living)
        patience = LAPSE_SECONDS + OVERDUE_SECONDS + 3 * RENEW_SECONDS
        for _ in range(int(patience / 5)):
            self.act(None, lambda store: store.declare(declaration(version)))
            self.wait_executing(5.0)
        if paused_before:
            self.act(None, lambda store: store.pause(KEY))
        if paused_before or self.is_paused():
            self.paused_since = None
            self.act(None, lambda store: store.resume(KEY))
        self.comes_at_every_instant(version)
        self.makes_one_run_of_what_was_missed()

    def comes_at_every_instant(self, version: str) -> None:
        before, begin = set(self.ended), self.clock.time()
        for _ in range(60):
            self.wait_executing(1.0)
        every = declaration(version).trigger
        instants = [at for at in every.first_after(begin, 20) if at <= self.clock.time()]
        assert sorted(set(self.ended) - before) == instants

    def makes_one_run_of_what_was_missed(self) -> None:
        before = len(self.ended)
        self.clock.advance(400.0)
        self.runner.run(_pass_the_loop())
        for _ in range(5):
            self.wait_executing(0.0)
        assert len(self.ended) == before + 1

    def wait_executing(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.runner.run(_pass_the_loop())
        for delivery in list(self.deliveries):
            self.execute(delivery, None, None)

    def is_paused(self) -> bool:
        kept = self.runner.run(ScheduleStore(self.broker, self.clock.time).find(KEY))
        return kept is not None and kept.schedule.paused

    @invariant()
    def no_instant_is_run_twice(self) -> None:
        assert not [at for at, count in self.ended.items() if count > 1]

    @invariant()
    def nothing_of_it_starts_while_it_is_paused(self) -> None:
        if self.paused_since is not None:
            assert all(at <= self.paused_since for at in self.ended)

    @invariant()
    def what_was_missed_is_one_run(self) -> None:
        if not self.deaths:
            assert all(count == 1 for count in self.ended_at.values())

    def teardown(self) -> None:
        self.runner.close()


async def _pass_the_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


TestSchedule = ScheduleMachine.TestCase
TestSchedule.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
