"""Retried runs behave as a model that is too simple to be wrong, whoever dies whenever.

Real policy, real execution and real queues, under a clock that moves by hand. The model knows of
each run which attempt is next and when. Workers are lost at any time.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from jtask import runtime, task
from jtask.contract import Delivery, Message, OutcomeRecord
from jtask.execution.dispositions import Requeue, StoreOutcome
from jtask.execution.job import Job, perform
from jtask.execution.sync_await import run_sync
from jtask.settings import Settings
from jtask.wire.envelope import Envelope, decode_envelope, decode_outcome
from jtask_memory import MemoryBroker, Storage, VirtualClock

DELAYS = [1.0, 4.0]
PLANS: dict[str, int] = {}
"""How many attempts of each run fail."""


def body() -> int:
    if runtime.attempt <= PLANS[runtime.run_id]:
        raise ValueError(f"attempt {runtime.attempt}")
    return int(runtime.attempt)


TASKS = [
    task(body, name=f"model-{retries}", retries=retries, retry_delay_seconds=DELAYS)  # type: ignore[call-overload]
    for retries in range(4)
]


@dataclass
class ModelRun:
    run_id: str
    retries: int
    failures: int
    since: float
    attempt: int = 1
    state: str = "waiting"

    def ends_as(self) -> str:
        return "Completed" if self.failures <= self.retries else "Failed"

    def last_attempt(self) -> int:
        return min(self.failures, self.retries) + 1


class RetryMachine(RuleBasedStateMachine):
    """A worker with endless credit that may be lost at any time, against the model."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = VirtualClock(1000.0)
        loop = self.runner.get_loop()
        self.broker = MemoryBroker("memory://retries", Storage(self.clock, Settings()), loop)
        self.held: dict[str, Delivery] = {}
        self.runs: dict[str, ModelRun] = {}
        self.consumption = self.runner.run(self.consume())

    async def consume(self) -> Any:
        return await self.broker.runs.consume(["model"], 1000, self.receive)

    def receive(self, delivery: Delivery) -> None:
        assert delivery.run_id not in self.held, "a run that is held was delivered again"
        self.held[delivery.run_id] = delivery

    def settle_down(self) -> None:
        async def pass_the_loop() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        self.runner.run(pass_the_loop())

    @rule(retries=st.integers(0, 3), failures=st.integers(0, 5))
    def enqueue(self, retries: int, failures: int) -> None:
        run_id = f"01a1fff5-44eb-7316-bfb5-{len(self.runs):012x}"
        PLANS[run_id] = failures
        now, key = self.clock.time(), TASKS[retries].key
        envelope = Envelope(run_id, key, "model", "json", b"{}", now)
        self.runner.run(self.broker.runs.enqueue([Message(run_id, "model", envelope.encode())]))
        self.runs[run_id] = ModelRun(run_id, retries, failures, now)
        self.settle_down()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def execute(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.held)))
        delivery, model = self.held.pop(run_id), self.runs[run_id]
        envelope = decode_envelope(delivery.body)
        assert envelope.attempt == model.attempt
        assert [past.number for past in envelope.history] == [*range(1, model.attempt)]
        job = Job(delivery, envelope, TASKS[model.retries], self.clock.time())
        with mock.patch.object(time, "time", self.clock.time):
            reply = run_sync(
                perform(job, "worker", 500_000, lambda *_: None, lambda: False, lambda *_: None)
            )
        if isinstance(reply, Requeue):
            assert model.attempt < model.last_attempt()
            delay = DELAYS[min(model.attempt, len(DELAYS)) - 1]
            assert reply.at == self.clock.time() + delay
            self.runner.run(delivery.reschedule(reply.at, reply.body))
            model.attempt += 1
            model.since = reply.at
        else:
            assert isinstance(reply, StoreOutcome)
            end = decode_outcome(reply.body)
            assert (end.state.name.value, end.attempt) == (model.ends_as(), model.last_attempt())
            assert len(end.history) == model.attempt - 1
            assert self.runner.run(self.put(run_id, reply.body)), "a run ended twice"
            delivery.ack()
            model.state = "over"
        self.settle_down()

    async def put(self, run_id: str, body: bytes) -> bool:
        return await self.broker.results.put(OutcomeRecord(run_id, body))

    @rule()
    def lose_the_worker(self) -> None:
        self.held.clear()
        self.runner.run(self.consumption.close())
        self.consumption = self.runner.run(self.consume())
        self.settle_down()

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0]))
    def advance(self, seconds: float) -> None:
        async def step() -> None:
            self.clock.advance(seconds)

        self.runner.run(step())
        self.settle_down()

    @invariant()
    def the_worker_holds_exactly_what_is_due(self) -> None:
        now = self.clock.time()
        due = {r.run_id for r in self.runs.values() if r.state == "waiting" and r.since <= now}
        assert set(self.held) == due

    def teardown(self) -> None:
        self.runner.run(self.broker.close())
        self.runner.close()


RetryMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, database=None
)
TestRetries = RetryMachine.TestCase
