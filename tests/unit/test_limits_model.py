"""No limit is exceeded, and no slot stands free while runs wait, whoever dies whenever.

The real plugin, real execution and real queues, under a clock that moves by hand. Workers may die
at any time, and limits are made, changed and removed while runs wait.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from plugin_models import THIS_PROCESS, World
from worker_rules import WorkersComeAndGo

from jtask import runtime, task
from jtask.wire.envelope import decode_outcome
from jtask_limits.definitions import Limit, limits_of, slot_name

OWN_LIMIT = 2
TAG = "tag:scarce"
RETRY_SECONDS = 5.0
MACHINES: "list[LimitMachine]" = []


async def work(kind: str) -> None:
    MACHINES[-1].begins(runtime.run_id, kind)
    if not await THIS_PROCESS.get().begin(runtime.run_id):
        raise ValueError("boom")


OPTIONS: dict[str, dict[str, Any]] = {
    "own": {"limit": OWN_LIMIT},
    "tagged": {"tags": ["scarce"]},
    "both": {"limit": OWN_LIMIT, "tags": ["scarce"]},
    "retried": {"limit": OWN_LIMIT, "retries": 1, "retry_delay_seconds": RETRY_SECONDS},
}
TASKS: dict[str, Any] = {
    kind: task(work, name=f"limited-{kind}", queue="model", **options)  # type: ignore[call-overload]
    for kind, options in OPTIONS.items()
}
OWN, TAGGED = ("own", "both", "retried"), ("tagged", "both")


@dataclass
class ModelRun:
    kind: str
    ends: list[str] = field(default_factory=list)
    not_before: float = 0.0


class LimitMachine(WorkersComeAndGo):
    """Some workers and some limits, against who executes."""

    def __init__(self) -> None:
        super().__init__()
        MACHINES.append(self)
        self.world = World(
            TASKS.values(),
            self.ended,
            ["jtask_limits.runs.get_client", "jtask_limits.slots.get_client"],
            # A run that lacks one of its slots tries once more.
            moment=0.2,
        )
        self.runs: dict[str, ModelRun] = {}
        self.tag_limit: int | None = None
        self.holding: set[str] = set()
        """Runs that began while the tag had a limit."""
        self.perhaps_holding: set[str] = set()
        """Runs that began as it was removed: a worker knows of that a second later at most."""
        self.is_removing = False
        self.world.do(self.world.start_worker())

    def executing(self, *kinds: str) -> int:
        return sum(self.runs[run_id].kind in kinds for run_id, _ in self.world.acting())

    def executing_of(self, run_ids: set[str]) -> int:
        return sum(run_id in run_ids for run_id, _ in self.world.acting())

    def begins(self, run_id: str, kind: str) -> None:
        if kind in OWN:
            assert self.executing(kind) < OWN_LIMIT, "a task's limit is exceeded"
        # An attempt before this one may have been lost.
        self.holding.discard(run_id)
        self.perhaps_holding.discard(run_id)
        if kind in TAGGED and self.tag_limit is not None:
            assert self.executing_of(self.holding) < self.tag_limit, "a tag's limit is exceeded"
            self.holding.add(run_id)
        elif kind in TAGGED and self.is_removing:
            self.perhaps_holding.add(run_id)

    def ended(self, run_id: str, body: bytes) -> None:
        end = decode_outcome(body)
        assert end.state.name.value == "Completed" or end.state.message.endswith("boom")
        self.runs[run_id].ends.append(end.state.name.value)

    @rule(kind=st.sampled_from(sorted(TASKS)), count=st.integers(1, 5))
    def enqueue(self, kind: str, count: int) -> None:
        tags = tuple(OPTIONS[kind].get("tags", ()))

        async def send() -> None:
            for run_id in await self.world.caller.send(TASKS[kind], count, kind, tags=tags):
                self.runs[run_id] = ModelRun(kind)

        self.world.do(send())

    @precondition(lambda self: self.world.acting())
    @rule(data=st.data(), succeeds=st.sampled_from([True, True, False]))
    def an_attempt_ends(self, data: st.DataObject, succeeds: bool) -> None:
        playing = self.world.acting()
        run_id, play = playing[data.draw(st.integers(0, len(playing) - 1))]
        if self.runs[run_id].kind == "retried":
            self.runs[run_id].not_before = self.world.clock.time() + RETRY_SECONDS

        async def end() -> None:
            play.set_result(succeeds)

        self.world.do(end())

    @rule(slots=st.integers(1, 4))
    def a_limit_is_made_or_changed(self, slots: int) -> None:
        self.tag_limit = slots
        self.world.do(self.change(Limit(TAG, slots)))
        # What the workers have read of it is as old as that.
        self.world.do(asyncio.sleep(1.5))

    @rule()
    def a_limit_is_removed(self) -> None:
        # What executes goes on, and has its slot until it is over.
        self.tag_limit, self.is_removing = None, True
        self.world.do(self.change(None))
        self.world.do(asyncio.sleep(1.5))
        self.is_removing = False

    async def change(self, limit: Limit | None) -> None:
        """Do what the program's commands do."""
        client: Any = self.world.caller
        limits, slots = limits_of(client.broker), client.slots
        if limit is None:
            await limits.delete(TAG)
            await slots.wake_all(slot_name(TAG))
        else:
            await limits.put(limit, is_new=False)
            await slots.watch(slot_name(TAG), lambda: limits.slots_now(TAG))

    @rule(seconds=st.sampled_from([1.0, RETRY_SECONDS, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.do(asyncio.sleep(seconds))

    @invariant()
    def a_run_waits_only_while_its_limits_are_reached(self) -> None:
        playing = [run_id for run_id, _ in self.world.acting()]
        now = self.world.clock.time()
        for run_id, run in self.runs.items():
            assert len(run.ends) <= 1
            if run.ends or run_id in playing or run.not_before > now:
                continue
            own = run.kind in OWN and self.executing(run.kind) >= OWN_LIMIT
            holding = self.executing_of(self.holding | self.perhaps_holding)
            tag = run.kind in TAGGED and self.tag_limit is not None and holding >= self.tag_limit
            assert own or tag, "a run waits for nothing"

    def teardown(self) -> None:
        self.world.close()
        MACHINES.clear()


LimitMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, database=None
)
TestLimits = LimitMachine.TestCase
