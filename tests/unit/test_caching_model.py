"""Of runs with one key one value is made, whoever dies whenever, while it is kept.

The real plugin, real execution and real queues, under a clock that moves by hand. Workers may die
at any time; keys may be forgotten, and end by themselves.
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
from jtask.cache_policies import INPUTS
from jtask.wire.envelope import decode_outcome
from jtask_caching.store import Cache

EXPIRATION = 60.0
MACHINES: "list[CachingMachine]" = []


async def compute(key: int, kind: str) -> str:
    MACHINES[-1].begins(kind, key)
    if not await THIS_PROCESS.get().begin(runtime.run_id):
        raise ValueError("boom")
    return str(runtime.run_id)


SERIALIZABLE, COMMITTED, REFRESHING = "serializable", "committed", "refreshing"
TASKS: dict[str, Any] = {
    kind: task(  # type: ignore[call-overload]
        compute,
        name=f"cached-{kind}",
        queue="model",
        cache_policy=policy - "kind",
        cache_expiration=EXPIRATION,
        refresh_cache=kind == REFRESHING,
    )
    for kind, policy in {
        SERIALIZABLE: INPUTS.configure(isolation_level="SERIALIZABLE"),
        COMMITTED: INPUTS,
        REFRESHING: INPUTS.configure(isolation_level="SERIALIZABLE"),
    }.items()
}
LOCKED = (SERIALIZABLE, REFRESHING)


@dataclass
class ModelRun:
    kind: str
    key: int
    ends: list[str] = field(default_factory=list)


class CachingMachine(WorkersComeAndGo):
    """Some workers and some keys, against what is kept."""

    def __init__(self) -> None:
        super().__init__()
        MACHINES.append(self)
        self.world = World(TASKS.values(), self.ended, ["jtask_caching.runs.get_client"])
        self.runs: dict[str, ModelRun] = {}
        self.kept: dict[int, tuple[str, float]] = {}
        self.world.do(self.world.start_worker())

    def value(self, key: int) -> str | None:
        run_id, until = self.kept.get(key, ("", 0.0))
        return run_id if until > self.world.clock.time() else None

    def begins(self, kind: str, key: int) -> None:
        if kind in LOCKED:
            assert self.executing(key) == [], "two compute the same value"
        if kind != REFRESHING:
            assert self.value(key) is None, "a value is computed that is kept"

    def ended(self, run_id: str, body: bytes) -> None:
        end, run = decode_outcome(body), self.runs[run_id]
        run.ends.append(end.state.name.value)
        assert run.ends[-1] in ("Cached", "Completed") or end.state.message.endswith("boom")
        if run.ends[-1] == "Cached":
            assert end.payload.decode().strip('"') == self.value(run.key)
            assert run.kind != REFRESHING

    def executing(self, key: int) -> list[str]:
        """Return the runs that compute the value of a key under its lock."""
        found = [(run_id, self.runs[run_id]) for run_id, _ in self.world.acting()]
        return [run_id for run_id, run in found if run.key == key and run.kind in LOCKED]

    @rule(
        kind=st.sampled_from([SERIALIZABLE, SERIALIZABLE, COMMITTED, REFRESHING]),
        key=st.integers(0, 1),
        count=st.integers(1, 5),
    )
    def enqueue(self, kind: str, key: int, count: int) -> None:
        async def send() -> None:
            for run_id in await self.world.caller.send(TASKS[kind], count, key, kind):
                self.runs[run_id] = ModelRun(kind, key)

        self.world.do(send())

    @precondition(lambda self: self.world.acting())
    @rule(data=st.data(), succeeds=st.sampled_from([True, True, False]))
    def an_attempt_ends(self, data: st.DataObject, succeeds: bool) -> None:
        playing = self.world.acting()
        run_id, play = playing[data.draw(st.integers(0, len(playing) - 1))]

        async def end() -> None:
            if succeeds:
                until = self.world.clock.time() + EXPIRATION
                self.kept[self.runs[run_id].key] = (run_id, until)
            play.set_result(succeeds)

        self.world.do(end())

    @rule(key=st.integers(0, 1))
    def a_value_is_forgotten(self, key: int) -> None:
        found = [entry.key for entry in self.entries() if entry.run_id == self.value(key)]

        async def forget() -> None:
            for one in found:
                assert await Cache(self.world.caller.broker).delete(one)

        self.kept.pop(key, None)
        self.world.do(forget())

    def entries(self) -> Any:
        return self.world.do(Cache(self.world.caller.broker).entries())

    @rule(seconds=st.sampled_from([1.0, 30.0, EXPIRATION]))
    def time_passes(self, seconds: float) -> None:
        self.world.do(asyncio.sleep(seconds))

    @invariant()
    def what_is_listed_is_what_is_kept(self) -> None:
        kept = {run_id for key in self.kept if (run_id := self.value(key)) is not None}
        assert {entry.run_id for entry in self.entries()} == kept

    @invariant()
    def a_run_waits_only_for_one_that_computes_its_value(self) -> None:
        playing = [run_id for run_id, _ in self.world.acting()]
        for run_id, run in self.runs.items():
            assert len(run.ends) <= 1
            if not run.ends and run_id not in playing:
                assert run.kind in LOCKED
                assert len(self.executing(run.key)) == 1, "nobody computes its value"

    def teardown(self) -> None:
        self.ended = lambda *_: None  # type: ignore[method-assign]
        self.world.close()
        MACHINES.clear()


CachingMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, database=None
)
TestCaching = CachingMachine.TestCase
