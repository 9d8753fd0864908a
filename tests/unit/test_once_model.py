"""One run at a time has a key, and a key is free when its run is over, whoever dies whenever.

The real plugin, real execution and real queues, under a clock that moves by hand. Callers may die
between claiming a key and storing their run, or stall there; workers may die at any time.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from once_models import CLIENTS, OnceWorld
from plugin_models import THIS_PROCESS
from worker_rules import WorkersComeAndGo

from jtask import runtime, task
from jtask.contract import OutcomeRecord
from jtask.errors import NotUnique
from jtask.states import State, StateName
from jtask.wire.envelope import decode_envelope, decode_outcome, encode_outcome, unstarted_record

RETRY_SECONDS = 5.0
HAS_ITS_KEY = "another run has its key"
MACHINES: "list[OnceMachine]" = []


async def work(key: int, kind: str) -> None:
    MACHINES[-1].begins(runtime.run_id, kind, key)
    if not await THIS_PROCESS.get().begin(runtime.run_id):
        raise ValueError("boom")


OPTIONS: dict[str, dict[str, Any]] = {
    "unique": {"unique": "{key}"},
    "joined": {"unique": "{key}", "on_conflict": "existing", "retries": 1},
    "idempotent": {"idempotency_key": "{key}", "retries": 1},
}
TASKS: dict[str, Any] = {
    kind: task(  # type: ignore[call-overload]
        work, name=f"once-{kind}", queue="model", retry_delay_seconds=RETRY_SECONDS, **options
    )
    for kind, options in OPTIONS.items()
}
KINDS = st.sampled_from(sorted(TASKS))
UNIQUE = st.sampled_from(["unique", "joined"])
KEYS = st.integers(0, 1)


@dataclass
class ModelRun:
    kind: str
    key: int
    came_without_key: bool = False
    is_refused: bool = False
    is_overtaken: bool = False
    has_begun: bool = False
    ends: list[str] = field(default_factory=list)

    @property
    def has_key(self) -> bool:
        """Whether it has its key, as far as its caller knows."""
        return not self.ends and (self.has_begun or not self.came_without_key)


class OnceMachine(WorkersComeAndGo):
    """Callers and workers, against who has which key."""

    def __init__(self) -> None:
        super().__init__()
        MACHINES.append(self)
        self.world = OnceWorld(TASKS.values(), self.ended, CLIENTS)
        self.runs: dict[str, ModelRun] = {}
        self.world.do(self.world.start_worker())

    # --- what is seen ----------------------------------------------------------------------

    def holder(self, kind: str, key: int) -> str | None:
        """Return the run that has a key."""
        held = [
            run_id
            for run_id, run in self.runs.items()
            if (run.kind, run.key) == (kind, key)
            and (run.has_key or (kind == "idempotent" and bool(run.ends)))
            and not run.is_overtaken
        ]
        assert len(held) <= 1, "two runs have one key"
        return held[0] if held else None

    def begins(self, run_id: str, kind: str, key: int) -> None:
        for other, _ in self.world.acting():
            one = self.runs[other]
            assert other == run_id or (one.kind, one.key) != (kind, key), "two execute at once"
        assert not self.runs[run_id].is_overtaken, "a run is executed that has lost its key"
        self.runs[run_id].has_begun = True

    def ended(self, run_id: str, body: bytes) -> None:
        end, run = decode_outcome(body), self.runs[run_id]
        run.ends.append(end.state.name.value)
        if end.state.name is StateName.CANCELLED:
            assert end.state.message.startswith(HAS_ITS_KEY)
            run.is_refused = True
        else:
            assert end.state.name is StateName.COMPLETED or end.state.message.endswith("boom")

    async def outcome_of(self, calling: Any) -> tuple[str, bool]:
        """Return the run that a call got or was told of, and whether it got it."""
        try:
            return await calling, True
        except NotUnique as error:
            return error.run_id, False

    def look_at(self, kind: str, key: int, held: str | None, answers: Any) -> None:
        """Check what calls of the same key at the same time got."""
        known = {run_id for run_id, _ in answers}
        assert len(known) == 1, "two runs were accepted"
        (run_id,) = known
        accepted = sum(is_accepted for _, is_accepted in answers)
        if held is not None:
            assert run_id == held, "another run took its key"
        if kind == "unique":
            # While callers wait for one that has died, a run that has no caller may get the key.
            came_first = self.runs[run_id].came_without_key and self.runs[run_id].has_begun
            is_free = held is None and not came_first
            assert accepted == is_free, "not exactly one call was accepted"
        else:
            assert accepted == len(answers)

    # --- callers ---------------------------------------------------------------------------

    @rule(kind=KINDS, key=KEYS, count=st.integers(1, 4), delay=st.sampled_from([0.0, 0.0, 30.0]))
    def calls_come(self, kind: str, key: int, count: int, delay: float) -> None:
        held = self.holder(kind, key)
        new = self.expecting(kind, key)

        async def call() -> Any:
            calls = [self.world.call(TASKS[kind], key, kind, delay=delay) for _ in range(count)]
            return await asyncio.gather(*map(self.outcome_of, calls))

        self.look_at(kind, key, held, self.world.do(self.noting(new, call())))

    @rule(kind=KINDS, key=KEYS, stalls=st.lists(st.sampled_from([0.0, 0.5, 1.5, 4.0]), min_size=2))
    def some_callers_stall_before_they_store(self, kind: str, key: int, stalls: Any) -> None:
        held = self.holder(kind, key)
        new = self.expecting(kind, key)

        async def call() -> Any:
            calls = [self.world.call(TASKS[kind], key, kind, stall=stall) for stall in stalls[:4]]
            return await asyncio.gather(*map(self.outcome_of, calls))

        answers = self.world.do(self.noting(new, call()))
        self.look_at(kind, key, held, answers)
        for run_id in new:
            if run_id != answers[0][0]:
                # Nobody has got it.
                self.runs[run_id].is_overtaken = True

    @rule(kind=KINDS, key=KEYS)
    def a_caller_dies_before_it_stores(self, kind: str, key: int) -> None:
        async def die() -> None:
            try:
                await self.world.die_before_storing(TASKS[kind], key, kind)
            except NotUnique:
                return

        self.world.do(die())

    @rule(kind=st.sampled_from(["joined", "idempotent"]), key=KEYS, count=st.integers(2, 3))
    def one_call_has_many_runs(self, kind: str, key: int, count: int) -> None:
        held = self.holder(kind, key)
        new = self.expecting(kind, key)
        calling = self.world.call_many(TASKS[kind], [(key, kind)] * count)
        found = self.world.do(self.noting(new, calling))
        self.look_at(kind, key, held, [(run_id, True) for run_id in found])

    @rule(kind=UNIQUE, key=KEYS)
    def a_run_comes_without_its_key(self, kind: str, key: int) -> None:
        async def send() -> None:
            (run_id,) = await self.world.caller.send(TASKS[kind], 1, key, kind)
            self.runs[run_id] = ModelRun(kind, key, came_without_key=True)

        self.world.do(send())

    def expecting(self, kind: str, key: int) -> "list[str]":
        """Return where the runs are noted that are stored from now on."""
        noted: list[str] = []
        backlog = self.world.storage.backlog
        add = type(backlog).add

        def note(message: Any, now: float) -> bool:
            self.runs[message.run_id] = ModelRun(kind, key)
            noted.append(message.run_id)
            return add(backlog, message, now)

        backlog.add = note  # type: ignore[method-assign]
        return noted

    async def noting(self, noted: "list[str]", calling: Any) -> Any:
        try:
            return await calling
        finally:
            vars(self.world.storage.backlog).pop("add", None)

    # --- what happens to runs --------------------------------------------------------------

    @precondition(lambda self: self.world.acting())
    @rule(data=st.data(), succeeds=st.sampled_from([True, True, False]))
    def an_attempt_ends(self, data: st.DataObject, succeeds: bool) -> None:
        playing = self.world.acting()
        _, play = playing[data.draw(st.integers(0, len(playing) - 1))]

        async def end() -> None:
            play.set_result(succeeds)

        self.world.do(end())

    @rule(kind=KINDS, key=KEYS)
    def a_waiting_run_is_cancelled(self, kind: str, key: int) -> None:
        held = self.holder(kind, key)
        if held is None:
            return

        async def cancel() -> None:
            broker = self.world.caller.broker
            place = await broker.queues.locate(held)
            if place is None or place.in_hand or not await broker.runs.cancel(held):
                return
            state = State(StateName.CANCELLED, time.time(), "no longer wanted")
            record = unstarted_record(held, decode_envelope(place.run.body), state)
            await broker.results.put(OutcomeRecord(held, encode_outcome(record)))
            self.runs[held].ends.append("Cancelled")

        self.world.do(cancel())

    @rule(seconds=st.sampled_from([0.5, 1.5, RETRY_SECONDS, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.do(asyncio.sleep(seconds))

    @invariant()
    def a_run_ends_once(self) -> None:
        assert all(len(run.ends) <= 1 for run in self.runs.values())

    @invariant()
    def only_a_run_whose_key_another_one_has_is_refused(self) -> None:
        for run in self.runs.values():
            assert run.came_without_key or run.is_overtaken or not run.is_refused

    @invariant()
    def keys_have_one_run_each(self) -> None:
        for kind in TASKS:
            for key in (0, 1):
                self.holder(kind, key)

    def teardown(self) -> None:
        self.ended = lambda *_: None  # type: ignore[method-assign]
        self.world.close()
        MACHINES.clear()


OnceMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, database=None
)
TestOnce = OnceMachine.TestCase


def test_a_run_without_a_caller_may_get_a_key_that_callers_wait_for() -> None:
    machine = OnceMachine()
    try:
        machine.a_caller_dies_before_it_stores(kind="unique", key=0)
        machine.time_passes(seconds=0.5)
        machine.a_run_comes_without_its_key(kind="unique", key=0)
        machine.some_callers_stall_before_they_store(kind="unique", key=0, stalls=[4.0, 0.5, 0.0])
        machine.keys_have_one_run_each()
        assert [run.has_begun for run in machine.runs.values() if run.came_without_key] == [True]
    finally:
        machine.teardown()


@pytest.mark.parametrize("kind", sorted(TASKS))
def test_of_two_callers_that_stall_the_one_that_stores_first_gets_the_key(kind: str) -> None:
    machine = OnceMachine()
    try:
        machine.some_callers_stall_before_they_store(kind=kind, key=0, stalls=[1.5, 4.0])
        machine.keys_have_one_run_each()
    finally:
        machine.teardown()
