"""Of runs with one key one value is made, whoever dies whenever, while it is kept.

The real plugin, real execution and real queues, under a clock that moves by hand. Workers may die
at any time; keys may be forgotten, and end by themselves.
"""

import asyncio
import time
from collections.abc import Awaitable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from virtual_loop import VirtualLoop

from jtask import runtime, task
from jtask.cache_policies import INPUTS
from jtask.contract import Delivery, Message, OutcomeRecord
from jtask.execution.job import Job, Release, Requeue, look_up, perform
from jtask.ids import RunIds
from jtask.serialization.codecs import codecs_of
from jtask.settings import Settings
from jtask.wire.envelope import Envelope, decode_envelope, decode_outcome
from jtask_caching.locks import locks_of
from jtask_caching.store import Cache
from jtask_memory import MemoryBroker, Storage, VirtualClock

EXPIRATION = 60.0
PLAYS: "dict[str, list[asyncio.Future[bool]]]" = {}
"""The attempts of each run; a future is told whether its attempt succeeds."""
CLIENT: ContextVar[Any] = ContextVar("CLIENT")


async def compute(key: int, kind: str) -> str:
    play: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    PLAYS.setdefault(runtime.run_id, []).append(play)
    MACHINES[-1].begins(runtime.run_id, kind, key)
    if not await play:
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


async def awaited(answer: Awaitable[Any]) -> Any:
    return await answer


class _Io:
    async def bridge(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await work


class Process:
    """A worker, with its own link to the broker."""

    def __init__(self, storage: Storage, loop: asyncio.AbstractEventLoop) -> None:
        self.broker = MemoryBroker("memory://cached", storage, loop)
        self.io = _Io()
        self.ids = RunIds()
        self.executing: list[asyncio.Task[None]] = []
        self.plays: list[tuple[str, asyncio.Future[bool]]] = []

    async def start(self) -> None:
        await self.broker.runs.consume(["model"], 1000, self.receive)

    def receive(self, delivery: Delivery) -> None:
        CLIENT.set(self)
        self.executing.append(asyncio.get_running_loop().create_task(self.execute(delivery)))

    def raise_what_went_wrong(self) -> None:
        for one in self.executing:
            if one.done() and not one.cancelled():
                one.result()

    async def execute(self, delivery: Delivery) -> None:
        envelope = decode_envelope(delivery.body)
        used = next(one for one in TASKS.values() if one.key == envelope.task_key)
        job = Job(delivery, envelope, used, time.time())
        reply: Any = await look_up(job, "worker", 500_000, lambda *_: None)
        if reply is None:
            reply = await perform(
                job, "worker", 500_000, lambda *_: None, lambda: False, lambda *_: None
            )
        assert not isinstance(reply, Release)
        if not isinstance(reply, Requeue):
            if await self.broker.results.put(OutcomeRecord(delivery.run_id, reply.body)):
                MACHINES[-1].ended(delivery.run_id, reply.body)
            delivery.ack()
        elif reply.park is None:
            await delivery.reschedule(reply.at, reply.body)
        else:
            await delivery.park(reply.park.key, reply.at, reply.body)
            assert reply.park.after is not None
            await reply.park.after()

    async def die(self) -> None:
        locks_of(self)._background.cancel()  # type: ignore[arg-type]
        await self.broker.close()


@dataclass
class ModelRun:
    kind: str
    key: int
    ends: list[str] = field(default_factory=list)


class CachingMachine(RuleBasedStateMachine):
    """Some workers and some keys, against what is kept."""

    def __init__(self) -> None:
        super().__init__()
        MACHINES.append(self)
        self.clock = VirtualClock(1_000_000.0)
        self.runner = asyncio.Runner(loop_factory=lambda: VirtualLoop(self.clock))
        self.loop = self.runner.get_loop()
        self.storage = Storage(self.clock, Settings())
        self.caller = Process(self.storage, self.loop)
        self.ids = RunIds()
        self.runs: dict[str, ModelRun] = {}
        self.kept: dict[int, tuple[str, float]] = {}
        self.living: list[Process] = []
        self.dead: list[Process] = []
        self.do(self.start_worker())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something, and all that follows from it at once."""
        now = self.clock.time
        with (
            mock.patch.multiple(time, time=now, monotonic=now),
            mock.patch("jtask_caching.runs.get_client", CLIENT.get),
            # Hooks are awaited on this one loop too, so that no time passes.
            mock.patch("jtask.execution.asking.answer_of", awaited),
        ):
            return self.runner.run(self._with_all_that_follows(work))

    async def _with_all_that_follows(self, work: Coroutine[Any, Any, Any]) -> Any:
        result = await work
        # The clock moves only when nothing else is left to do.
        await asyncio.sleep(0.0001)
        for worker in self.living:
            worker.raise_what_went_wrong()
        return result

    async def start_worker(self) -> None:
        worker = Process(self.storage, self.loop)
        self.living.append(worker)
        await worker.start()

    def value(self, key: int) -> str | None:
        run_id, until = self.kept.get(key, ("", 0.0))
        return run_id if until > self.clock.time() else None

    def begins(self, run_id: str, kind: str, key: int) -> None:
        if kind in LOCKED:
            assert self.executing(key, LOCKED) == [], "two compute the same value"
        if kind != REFRESHING:
            assert self.value(key) is None, "a value is computed that is kept"
        CLIENT.get().plays.append((run_id, PLAYS[run_id][-1]))

    def ended(self, run_id: str, body: bytes) -> None:
        end, run = decode_outcome(body), self.runs[run_id]
        run.ends.append(end.state.name.value)
        assert run.ends[-1] in ("Cached", "Completed") or end.state.message.endswith("boom")
        if run.ends[-1] == "Cached":
            assert end.payload.decode().strip('"') == self.value(run.key)
            assert run.kind != REFRESHING

    def acting(self) -> list[tuple[str, "asyncio.Future[bool]"]]:
        return [play for worker in self.living for play in worker.plays if not play[1].done()]

    def executing(self, key: int, kinds: tuple[str, ...]) -> list[str]:
        return [
            run_id
            for run_id, _ in self.acting()
            if self.runs[run_id].key == key and self.runs[run_id].kind in kinds
        ]

    @rule(
        kind=st.sampled_from([SERIALIZABLE, SERIALIZABLE, COMMITTED, REFRESHING]),
        key=st.integers(0, 1),
        count=st.integers(1, 5),
    )
    def enqueue(self, kind: str, key: int, count: int) -> None:
        self.do(self.send(kind, key, count))

    async def send(self, kind: str, key: int, count: int) -> None:
        used, messages = TASKS[kind], []
        for _ in range(count):
            run_id = self.ids.new()
            self.runs[run_id] = ModelRun(kind, key)
            arguments = codecs_of(used).arguments.encode((key, kind), {})
            envelope = Envelope(run_id, used.key, used.name, "json", arguments, time.time())
            messages.append(Message(run_id, "model", envelope.encode()))
        await self.caller.broker.runs.enqueue(messages)

    @precondition(lambda self: self.acting())
    @rule(data=st.data(), succeeds=st.sampled_from([True, True, False]))
    def an_attempt_ends(self, data: st.DataObject, succeeds: bool) -> None:
        playing = self.acting()
        run_id, play = playing[data.draw(st.integers(0, len(playing) - 1))]

        async def end() -> None:
            if succeeds:
                self.kept[self.runs[run_id].key] = (run_id, self.clock.time() + EXPIRATION)
            play.set_result(succeeds)

        self.do(end())

    @rule(data=st.data())
    def a_worker_dies(self, data: st.DataObject) -> None:
        worker = self.living.pop(data.draw(st.integers(0, len(self.living) - 1)))
        self.dead.append(worker)

        async def die() -> None:
            await worker.die()
            if not self.living:
                await self.start_worker()

        self.do(die())

    @rule()
    def another_worker_comes(self) -> None:
        if len(self.living) < 3:
            self.do(self.start_worker())

    @rule(key=st.integers(0, 1))
    def a_value_is_forgotten(self, key: int) -> None:
        found = [entry.key for entry in self.entries() if entry.run_id == self.value(key)]

        async def forget() -> None:
            for one in found:
                assert await Cache(self.caller.broker).delete(one)

        self.kept.pop(key, None)
        self.do(forget())

    def entries(self) -> Any:
        return self.do(Cache(self.caller.broker).entries())

    @rule(seconds=st.sampled_from([1.0, 30.0, EXPIRATION]))
    def time_passes(self, seconds: float) -> None:
        self.do(asyncio.sleep(seconds))

    @invariant()
    def what_is_listed_is_what_is_kept(self) -> None:
        kept = {run_id for key in self.kept if (run_id := self.value(key)) is not None}
        assert {entry.run_id for entry in self.entries()} == kept

    @invariant()
    def a_run_waits_only_for_one_that_computes_its_value(self) -> None:
        playing = [run_id for run_id, _ in self.acting()]
        for run_id, run in self.runs.items():
            assert len(run.ends) <= 1
            if not run.ends and run_id not in playing:
                assert run.kind in LOCKED
                assert len(self.executing(run.key, LOCKED)) == 1, "nobody computes its value"

    def teardown(self) -> None:
        async def end() -> None:
            for worker in self.living:
                await worker.die()
            # Nothing is delivered any more.
            executing = [one for worker in self.living + self.dead for one in worker.executing]
            self.living.clear()
            for one in executing:
                one.cancel()
            await asyncio.gather(*executing, return_exceptions=True)
            await self.caller.broker.close()

        self.do(end())
        self.runner.close()
        MACHINES.clear()


MACHINES: list[CachingMachine] = []
CachingMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, database=None
)
TestCaching = CachingMachine.TestCase
