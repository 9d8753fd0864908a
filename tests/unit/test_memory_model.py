"""The queues of the memory broker behave as a model that is too simple to be wrong.

The model is a list of runs in which each operation looks at every run. After each step the worker
must hold exactly what the model says, and nothing may be lost, doubled or early.
"""

import asyncio
import math
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from jtask.contract import Consumption, Delivery, Message
from jtask.settings import Settings
from jtask_memory import MemoryBroker, Storage, VirtualClock

QUEUES = ("reports", "mails")
DELAYS = st.sampled_from([-5.0, 0.0, 1.0, 2.0, 10.0])


@dataclass
class ModelRun:
    run_id: str
    queue: str
    body: bytes
    priority: int
    since: float
    order: int
    deliveries: int = 0
    lost_workers: int = 0
    held: bool = False

    def can_come(self, now: float) -> bool:
        return not self.held and self.since <= now


class QueueMachine(RuleBasedStateMachine):
    """One worker with a changing credit for both queues, against the model."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = VirtualClock(1000.0)
        self.deliveries: dict[str, Delivery] = {}
        self.credit = 2
        self.runs: list[ModelRun] = []
        self.pauses: dict[str, float] = {}
        self.steps = 0
        loop = self.runner.get_loop()
        self.broker = MemoryBroker("memory://model", Storage(self.clock, Settings()), loop)
        self.consumption: Consumption = self.runner.run(self.consume())

    async def consume(self) -> Consumption:
        return await self.broker.runs.consume(QUEUES, self.credit, self.receive)

    def receive(self, delivery: Delivery) -> None:
        assert delivery.run_id not in self.deliveries, "a run that is held was delivered again"
        self.deliveries[delivery.run_id] = delivery

    def next_order(self) -> int:
        self.steps += 1
        return self.steps

    def settle_down(self) -> None:
        async def pass_the_loop() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        self.runner.run(pass_the_loop())
        self.model_delivers()

    def model_delivers(self) -> None:
        now = self.clock.time()
        while sum(run.held for run in self.runs) < self.credit:
            ready = [
                run for run in self.runs if run.can_come(now) and not self.is_paused(run.queue, now)
            ]
            if not ready:
                return
            chosen = min(ready, key=lambda run: (-run.priority, run.since, run.order))
            chosen.held = True
            chosen.deliveries += 1

    def is_paused(self, queue: str, now: float) -> bool:
        return self.pauses.get(queue, 0.0) > now

    def held(self) -> list[ModelRun]:
        return [run for run in self.runs if run.held]

    def settled(self, run: ModelRun) -> Delivery:
        run.held = False
        return self.deliveries.pop(run.run_id)

    @rule(
        queue=st.sampled_from(QUEUES),
        priority=st.sampled_from([0, 5, 9]),
        delay=st.none() | DELAYS,
        lifetime=st.none() | st.sampled_from([0.0, 1.0, 5.0]),
    )
    def enqueue(
        self, queue: str, priority: int, delay: float | None, lifetime: float | None
    ) -> None:
        now = self.clock.time()
        order = self.next_order()
        at = None if delay is None else now + delay
        expires = None if lifetime is None else now + lifetime
        run_id, body = f"01a1fff5-44eb-7316-bfb5-{order:012x}", b"body %d" % order
        message = Message(run_id, queue, body, priority, at, expires)
        self.runner.run(self.broker.runs.enqueue([message, message]))
        since = now if at is None else max(at, now)
        self.runs.append(ModelRun(run_id, queue, body, priority, since, order))
        self.settle_down()

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.held()))
        self.settled(run).ack()
        self.runs.remove(run)
        self.settle_down()

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.held()))
        self.runner.run(self.settled(run).release())
        self.settle_down()

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data(), delay=DELAYS, body=st.none() | st.just(b"new"))
    def reschedule(self, data: st.DataObject, delay: float, body: bytes | None) -> None:
        now = self.clock.time()
        run = data.draw(st.sampled_from(self.held()))
        self.runner.run(self.settled(run).reschedule(now + delay, body))
        run.since, run.order = max(now, now + delay), self.next_order()
        run.deliveries = 0
        run.body = body or run.body
        self.settle_down()

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data())
    def dead_letter(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.held()))
        self.runner.run(self.settled(run).dead_letter("Poison.", b""))
        self.runs.remove(run)
        self.settle_down()

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.runs))
        cancelled = self.runner.run(self.broker.runs.cancel(run.run_id))
        assert cancelled is not run.held
        if not run.held:
            self.runs.remove(run)
        self.settle_down()

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0]))
    def advance(self, seconds: float) -> None:
        # In steps that no instant lies within, so that the model sees each instant, too.
        async def step() -> None:
            self.clock.advance(0.5)

        for _ in range(int(seconds * 2)):
            self.runner.run(step())
            self.settle_down()

    @rule(queue=st.sampled_from(QUEUES), duration=st.none() | st.sampled_from([0.5, 1.0, 3.0]))
    def pause(self, queue: str, duration: float | None) -> None:
        until = None if duration is None else self.clock.time() + duration
        self.pauses[queue] = math.inf if until is None else until
        self.runner.run(self.broker.queues.pause(queue, until))
        self.settle_down()

    @rule(queue=st.sampled_from(QUEUES))
    def resume(self, queue: str) -> None:
        was_paused = self.is_paused(queue, self.clock.time())
        self.pauses.pop(queue, None)
        assert self.runner.run(self.broker.queues.resume(queue)) is was_paused
        self.settle_down()

    @rule(credit=st.integers(0, 4))
    def set_credit(self, credit: int) -> None:
        self.credit = credit
        self.consumption.set_credit(credit)
        self.settle_down()

    @rule()
    def lose_the_worker(self) -> None:
        self.runner.run(self.consumption.close())
        for run in self.held():
            run.lost_workers += 1
            self.settled(run)
        self.consumption = self.runner.run(self.consume())
        self.settle_down()

    @invariant()
    def the_worker_holds_what_the_model_says(self) -> None:
        expected = {
            run.run_id: (run.queue, run.body, run.deliveries > 1, run.lost_workers)
            for run in self.held()
        }
        held = {
            it.run_id: (it.queue, it.body, it.redelivered, it.lost_workers)
            for it in self.deliveries.values()
        }
        assert held == expected

    @invariant()
    def the_depths_are_those_of_the_model(self) -> None:
        now = self.clock.time()
        for queue in QUEUES:
            counted = [
                run for run in self.runs if run.queue == queue and (run.held or run.can_come(now))
            ]
            assert self.runner.run(self.broker.queues.depth(queue)) == len(counted)

    @invariant()
    def the_queues_stand_as_in_the_model(self) -> None:
        now = self.clock.time()
        for info in self.runner.run(self.broker.queues.list()):
            runs = [run for run in self.runs if run.queue == info.name]
            executing = sum(run.held for run in runs)
            waiting = sum(run.can_come(now) for run in runs)
            assert info[1:4] == (waiting, executing, len(runs) - executing - waiting)
            assert (info.pause is not None) is self.is_paused(info.name, now)

    @invariant()
    def the_runs_that_nobody_holds_are_shown(self) -> None:
        async def shown() -> list[tuple[str, bytes, bool]]:
            return [
                (run.run_id, run.body, run.at is None) async for run in self.broker.queues.waiting()
            ]

        now = self.clock.time()
        runs = sorted((run for run in self.runs if not run.held), key=lambda run: run.order)
        expected = [(run.run_id, run.body, run.can_come(now)) for run in runs]
        assert self.runner.run(shown()) == expected

    def teardown(self) -> None:
        self.runner.run(self.broker.close())
        self.runner.close()


QueueMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, database=None
)
TestQueues = QueueMachine.TestCase
