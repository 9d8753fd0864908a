"""A burst of calls is one run, with the latest arguments, once it has been quiet.

The real plugin, real execution and real queues, under a clock that moves by hand, against a model
of bursts.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from once_models import CLIENTS, OnceWorld

from jtask import runtime, task
from jtask.wire.envelope import decode_outcome

QUIET = 1.0
DUE = QUIET + 0.3
"""Seconds after its last call at which the run of a burst comes."""
SLACK = 0.05
MACHINES: "list[DebounceMachine]" = []


async def work(key: int, value: int, kind: str) -> int:
    MACHINES[-1].begins(runtime.run_id, key, value, kind)
    if kind == "flaky" and runtime.attempt == 1:
        raise ValueError("boom")
    return value


TASKS: dict[str, Any] = {
    kind: task(
        work,
        name=f"debounced-{kind}",
        queue="model",
        debounce=QUIET,
        debounce_key="{key}",
        retries=1,
        retry_delay_seconds=4.0,
    )
    for kind in ("steady", "flaky")
}


@dataclass
class Burst:
    run_id: str
    last: float
    latest: set[int]
    began: list[int] = field(default_factory=list)


class DebounceMachine(RuleBasedStateMachine):
    """Some callers and a worker, against bursts."""

    def __init__(self) -> None:
        super().__init__()
        MACHINES.append(self)
        self.world = OnceWorld(TASKS.values(), self.ended, CLIENTS)
        self.bursts: dict[tuple[str, int], list[Burst]] = {
            (kind, key): [] for kind in TASKS for key in (0, 1)
        }
        self.values = 0
        self.world.do(self.world.start_worker())

    def begins(self, run_id: str, key: int, value: int, kind: str) -> None:
        (burst,) = [one for one in self.bursts[kind, key] if one.run_id == run_id]
        assert value in burst.latest, "an older call's arguments are executed"
        # When it is late, the invariant below says so: the clock jumps before a task runs.
        assert self.world.clock.time() >= burst.last + QUIET, "it has not been quiet"
        burst.began.append(value)

    def ended(self, run_id: str, body: bytes) -> None:
        assert decode_outcome(body).state.name.value == "Completed"

    def called(self, kind: str, key: int, run_ids: list[str], latest: set[int]) -> None:
        """Check which run calls at the same time got, and note them."""
        now = self.world.clock.time()
        assert len(set(run_ids)) == 1, "one burst is two runs"
        bursts = self.bursts[kind, key]
        if bursts and bursts[-1].run_id == run_ids[0]:
            assert now < bursts[-1].last + DUE + SLACK, "a burst that is over goes on"
            bursts[-1].last, bursts[-1].latest = now, latest
        else:
            assert not bursts or now >= bursts[-1].last + QUIET, "a burst is not joined"
            bursts.append(Burst(run_ids[0], now, latest))

    def new_values(self, count: int) -> list[int]:
        self.values += count
        return list(range(self.values - count, self.values))

    @rule(kind=st.sampled_from(sorted(TASKS)), key=st.integers(0, 1), count=st.integers(1, 4))
    def calls_come(self, kind: str, key: int, count: int) -> None:
        values = self.new_values(count)

        async def call() -> list[str]:
            calls = [self.world.call(TASKS[kind], key, value, kind) for value in values]
            return list(await asyncio.gather(*calls))

        self.called(kind, key, self.world.do(call()), set(values))

    @rule(kind=st.sampled_from(sorted(TASKS)), key=st.integers(0, 1), count=st.integers(1, 4))
    def one_call_has_many_runs(self, kind: str, key: int, count: int) -> None:
        values = self.new_values(count)
        calling = self.world.call_many(TASKS[kind], [(key, value, kind) for value in values])
        self.called(kind, key, self.world.do(calling), {values[-1]})

    @rule(kind=st.sampled_from(sorted(TASKS)), key=st.integers(0, 1))
    def a_caller_dies_before_it_stores(self, kind: str, key: int) -> None:
        bursts = self.bursts[kind, key]
        now = self.world.clock.time()
        if bursts and now < bursts[-1].last + DUE + SLACK:
            return  # it would join
        self.world.do(self.world.die_before_storing(TASKS[kind], key, -1, kind))

    @rule(seconds=st.sampled_from([0.25, 0.5, 0.75, 2.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.do(asyncio.sleep(seconds))

    @invariant()
    def a_burst_that_is_over_was_executed_once(self) -> None:
        now = self.world.clock.time()
        for (kind, _), bursts in self.bursts.items():
            for burst in bursts:
                if now > burst.last + DUE + SLACK:
                    assert burst.began, "a burst is not executed"
                    assert len(set(burst.began)) == 1
                    assert len(burst.began) <= (2 if kind == "flaky" else 1)

    def teardown(self) -> None:
        self.world.close()
        MACHINES.clear()


DebounceMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, database=None
)
TestDebounce = DebounceMachine.TestCase
