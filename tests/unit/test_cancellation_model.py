"""Whoever dies while runs are cancelled, each ends once, and the answers were true.

Real cancelling, real workers and real queues, under a clock that moves by hand. Callers and workers
may die in place of any request to the broker. What is looked at is what the tasks' functions saw
and what whoever waits heard.
"""

import asyncio
import itertools
import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, cast
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from mortal_processes import PATIENCE, Process, Turn, WorkerProcess
from virtual_loop import VirtualLoop

from jtask import runtime, task
from jtask.client.cancel_requests import cancel_requests
from jtask.client.cancellation import cancel_run
from jtask.contract import Message
from jtask.declaration.registry import find_task
from jtask.errors import RunCancelled
from jtask.execution.job import Job
from jtask.ids import RunIds
from jtask.outcomes import CancelAnswer, CancelResult
from jtask.runtime import RunContext, current_run
from jtask.settings import Settings
from jtask.states import State, StateName
from jtask.wire.envelope import Envelope, decode_outcome
from jtask_memory import MemoryBroker, Storage, VirtualClock

T = TypeVar("T")

RETRY_SECONDS = 5.0
MAX_CRASHES = 3
AT_ONCE = 4  # few runs, so that much happens to each
# In place of which request to the broker a process dies.
CALLER_DEATHS = st.sampled_from(
    ["records.put", "requests.ask", "runs.cancel", "results.put", "records.delete"]
)
WORKER_DEATHS = st.sampled_from(
    [
        "now",
        "now",
        "results.put",
        "results.put",
        "ack",
        "reschedule",
        "counters.add",
        "records.get",
        "runs.cancel",
        "records.delete",
    ]
)


class Killed(BaseException):
    """The process of this function was killed."""


@dataclass(eq=False)
class Play:
    """One execution of a task's function, which does what the machine says."""

    run: RunContext
    is_async: bool
    turn: Turn
    orders: "queue.SimpleQueue[str]" = field(default_factory=queue.SimpleQueue)
    order: "asyncio.Future[str] | None" = None
    interruptions: int = 0
    is_over: bool = False

    def act(self) -> str:
        while True:
            self.turn.put(None)
            if (order := self.orders.get()) != "look":
                return self.obey(order)
            if runtime.cancelled:
                self.is_over = True
                raise RunCancelled(runtime.cancelled)

    async def act_async(self, *, stubborn: bool) -> str:
        while True:
            self.order = asyncio.get_running_loop().create_future()
            try:
                return self.obey(await self.order)
            except asyncio.CancelledError:
                self.interruptions += 1
                if not stubborn:
                    self.is_over = True
                    raise

    def obey(self, order: str) -> str:
        self.is_over = True
        if order == "fail":
            raise ValueError("boom")
        if order == "die":
            raise Killed
        return order

    @property
    def is_asked(self) -> bool:
        return self.run.cancelled is not None


@dataclass(eq=False)
class ModelRun:
    """What was done with a run, and what was heard of it."""

    run_id: str
    kind: str
    retries: int
    heard: list[bytes] = field(default_factory=list[bytes])
    plays: list[Play] = field(default_factory=list[Play])
    is_wished: bool = False
    never_starts: bool = False
    losses: int = 0

    @property
    def end(self) -> str | None:
        return decode_outcome(self.heard[0]).state.name.value if self.heard else None


STAGE: "dict[str, Callable[[], Play]]" = {}
"""Where each run's functions begin."""


def plain() -> str:
    return STAGE[runtime.run_id]().act()


async def gentle() -> str:
    return await STAGE[runtime.run_id]().act_async(stubborn=False)


async def stubborn() -> str:
    return await STAGE[runtime.run_id]().act_async(stubborn=True)


TOLD: Counter[str] = Counter()
"""How often the hooks of each run were called."""


def tell(task: Any, run: RunContext, state: State) -> None:
    assert state.name is StateName.CANCELLED
    TOLD[run.run_id] += 1


def call_in_turn(name: str, work: Callable[..., None], *args: Any) -> "asyncio.Future[None]":
    """Call something in a thread while the loop waits, so that no time passes."""
    thread = threading.Thread(target=work, name=name, args=args)
    thread.start()
    thread.join(PATIENCE)
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


FUNCTIONS: dict[str, Any] = {"plain": plain, "gentle": gentle, "stubborn": stubborn}
TASKS = {
    (kind, retries): task(  # type: ignore[call-overload]
        function,
        name=f"cancelled-{kind}-{retries}",
        queue="model",
        retries=retries,
        retry_delay_seconds=RETRY_SECONDS,
        on_cancellation=[tell],
    )
    for kind, function in FUNCTIONS.items()
    for retries in (0, 1)
}


Worker: TypeAlias = WorkerProcess[Play]


def chosen(data: st.DataObject, options: list[T]) -> T:
    return options[data.draw(st.integers(0, len(options) - 1))]


class CancellationMachine(RuleBasedStateMachine):
    """Some workers, whoever cancels, and whoever waits."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock(1000.0)
        self.runner = asyncio.Runner(loop_factory=lambda: VirtualLoop(self.clock))
        self.loop = self.runner.get_loop()
        # Not by chance: the same steps must lead to the same states, or none could be repeated.
        shares = itertools.cycle([0.1, 0.7, 0.4, 0.9])
        self.jitter = mock.Mock(uniform=lambda low, high: low + (high - low) * next(shares))
        self.storage = Storage(self.clock, Settings())
        self.turn: Turn = queue.SimpleQueue()
        self.waiter = MemoryBroker("memory://mortal", self.storage, self.loop)
        self.ids = RunIds()
        self.runs: dict[str, ModelRun] = {}
        self.workers: list[Worker] = []
        self.has_code = False
        """Whether whoever cancels has the code of the tasks."""
        self.all_lived = True
        self.do(self.start_worker())

    # --- how anything happens --------------------------------------------------------------

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something, and all that follows from it at once."""
        now = self.clock.time
        here = self.has_code
        with (
            mock.patch.multiple(time, time=now, monotonic=now),
            mock.patch(
                "jtask.client.cancel_notices.find_task",
                lambda key: find_task(key) if here else None,
            ),
            mock.patch("jtask.client.cancel_notices.call_in_daemon", call_in_turn),
            mock.patch("jtask_cancellation.worker_side.RANDOM", self.jitter),
            # Plain functions are told, and act on it or not; nobody interrupts them by real time.
            mock.patch("jtask_timeouts.threads.GRACE_SECONDS", math.inf),
            # Nor can a process of its own execute a function that waits for this one's orders.
            mock.patch("jtask_timeouts.suspects.can_isolate", return_value=False),
        ):
            return self.runner.run(self._with_all_that_follows(work))

    async def _with_all_that_follows(self, work: Coroutine[Any, Any, Any]) -> Any:
        result = await work
        await self.settle_down()
        return result

    async def settle_down(self) -> None:
        # The clock moves only when nothing else is left to do.
        await asyncio.sleep(0.0001)
        for worker in self.workers:
            if worker.is_dead and not worker.is_buried:
                await self.bury(worker)

    async def bury(self, worker: Worker) -> None:
        """End what a process takes along when it dies, and have its functions end."""
        worker.is_buried = True
        self.all_lived = False
        for run_id in worker.claims:
            self.runs[run_id].losses += 1
        worker.want_nothing()
        for play in worker.plays:
            if not play.is_over:
                self.give(play, "die")
        await worker.threads.close(worker.threads._threads)
        await asyncio.sleep(0)

    def give(self, play: Play, order: str) -> None:
        if play.is_async:
            if play.order is not None and not play.order.done():
                play.order.set_result(order)
        else:
            play.orders.put(order)
            self.turn.get(timeout=PATIENCE)

    async def start_worker(self) -> Worker:
        worker = Worker(self.storage, self.loop, TASKS.values(), self.turn)
        self.workers.append(worker)
        await worker.start()
        return worker

    def living(self) -> list[Worker]:
        return [worker for worker in self.workers if not worker.is_dead]

    def acting(self) -> list[tuple[Worker, Play]]:
        return [
            (worker, play) for worker in self.living() for play in worker.plays if not play.is_over
        ]

    def submitted(self) -> list[tuple[Worker, Any, Job]]:
        return [(w, runner, job) for w in self.living() for runner, job in w.submitted()]

    # --- runs ------------------------------------------------------------------------------

    @precondition(lambda self: sum(run.end is None for run in self.runs.values()) < AT_ONCE)
    @rule(
        kind=st.sampled_from(sorted(FUNCTIONS)),
        retries=st.integers(0, 1),
        delay=st.sampled_from([None, None, 3.0, 20.0]),
        begins=st.booleans(),
    )
    def enqueue(self, kind: str, retries: int, delay: float | None, begins: bool) -> None:
        run = ModelRun(self.ids.new(), kind, retries)
        self.runs[run.run_id] = run
        STAGE[run.run_id] = lambda: self.begins(run)
        self.do(self.store(run, delay))
        if begins:
            self.do(self.begin_all())

    async def store(self, run: ModelRun, delay: float | None) -> None:
        used = TASKS[run.kind, run.retries]
        now = self.clock.time()
        envelope = Envelope(run.run_id, used.key, used.name, "json", b"{}", now)
        await self.waiter.results.watch(
            run.run_id, lambda end: run.heard.append(end.body), lambda: None
        )
        at = None if delay is None else now + delay
        await self.waiter.runs.enqueue([Message(run.run_id, "model", envelope.encode(), at=at)])

    def begins(self, run: ModelRun) -> Play:
        assert not run.never_starts, "a run started that never should"
        assert run.end is None, "a run that was over started"
        context = cast("RunContext", current_run())
        assert context.cancelled is None, "a run started that had been asked to end"
        play = Play(context, run.kind != "plain", self.turn)
        run.plays.append(play)
        holder = next(w for w in self.living() if run.run_id in w.claims)
        holder.plays.append(play)
        return play

    @precondition(lambda self: self.submitted())
    @rule(data=st.data())
    def a_run_begins(self, data: st.DataObject) -> None:
        _, runner, job = chosen(data, self.submitted())

        async def begin() -> None:
            runner.begin(job)

        self.do(begin())

    @precondition(lambda self: self.acting())
    @rule(data=st.data(), order=st.sampled_from(["return", "look"]))
    def a_function_goes_on(self, data: st.DataObject, order: str) -> None:
        self.act(*chosen(data, self.acting()), order)

    @precondition(lambda self: self.acting())
    @rule(data=st.data())
    def a_function_fails(self, data: st.DataObject) -> None:
        self.act(*chosen(data, self.acting()), "fail")

    def act(self, worker: Worker, play: Play, order: str) -> None:
        if order == "look" and play.is_async:
            order = "return"
        run, attempt, asked = self.runs[play.run.run_id], play.run.attempt, play.is_asked

        async def go_on() -> None:
            self.give(play, order)

        self.do(go_on())
        if run.end is None and play.is_over and not worker.is_dead:
            assert order == "fail", "a run that came to its end has none"
            assert not asked, "a run that was asked to end is tried again"
            assert attempt <= run.retries

    # --- cancelling ------------------------------------------------------------------------

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), has_code=st.booleans())
    def somebody_cancels(self, data: st.DataObject, has_code: bool) -> None:
        self.has_code = has_code
        self.cancel_one(data, None)

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), death=CALLER_DEATHS)
    def somebody_dies_cancelling(self, data: st.DataObject, death: str) -> None:
        self.cancel_one(data, death)

    @precondition(lambda self: self.runs and self.living())
    @rule(data=st.data())
    def somebody_cancels_and_the_workers_die_before_they_store_its_end(
        self, data: st.DataObject
    ) -> None:
        for worker in self.living():
            worker.death = "results.put"
        self.cancel_one(data, None)

    def cancel_one(self, data: st.DataObject, death: str | None) -> None:
        run = chosen(data, [*self.runs.values()][-AT_ONCE:])
        expected = self.expected(run)
        deaths = sum(worker.is_dead for worker in self.workers)
        run.is_wished = True
        answer = self.do(self.cancel(run, death))
        if answer is None:
            return
        self.is_true(run, answer)
        if deaths == sum(worker.is_dead for worker in self.workers):
            assert answer.result in expected

    async def cancel(self, run: ModelRun, death: str | None) -> CancelAnswer | None:
        caller = Process(self.storage, self.loop, death)
        asking = self.loop.create_task(
            cancel_run(cast("Any", caller.broker), caller.events.add, run.run_id, "enough")
        )
        await asyncio.wait([asking, caller.died], return_when=asyncio.FIRST_COMPLETED)
        if caller.is_dead:
            self.all_lived = False
            asking.cancel()
            return None
        return await asking

    def expected(self, run: ModelRun) -> set[CancelResult]:
        """Say what the answer has to be, as far as nobody dies and no worker is faster."""
        if run.end is not None:
            return {CancelResult.ALREADY_OVER}
        if any(play.run.run_id == run.run_id for _, play in self.acting()):
            return {CancelResult.INTERRUPTED}
        if any(run.run_id in worker.claims for worker in self.living()):
            return {CancelResult.NEVER_STARTS}
        if self.waits(run):
            return {CancelResult.NEVER_STARTS}
        # A dead worker holds it, or a dead caller took it off; a worker may end it meanwhile.
        return {CancelResult.NOT_FOUND, CancelResult.ALREADY_OVER, CancelResult.NEVER_STARTS}

    def waits(self, run: ModelRun) -> bool:
        return self.storage.backlog.find(run.run_id, self.clock.time()) is not None

    def is_true(self, run: ModelRun, answer: CancelAnswer) -> None:
        if answer.result is CancelResult.NEVER_STARTS:
            run.never_starts = True
            assert run.end == "Cancelled"
        elif answer.result is CancelResult.ALREADY_OVER:
            assert answer.state is not None
            assert run.end == answer.state.name
        elif answer.result is CancelResult.NOT_FOUND:
            assert run.end is None
        else:
            playing = [play for play in run.plays if not play.is_over]
            assert all(play.is_asked for play in playing if self.is_alive(play))

    def is_alive(self, play: Play) -> bool:
        return any(play is one for _, one in self.acting())

    # --- dying -----------------------------------------------------------------------------

    @precondition(lambda self: len(self.living()) < 2)
    @rule()
    def a_worker_starts(self) -> None:
        self.do(self.start_worker())

    @precondition(lambda self: self.living())
    @rule(data=st.data(), death=WORKER_DEATHS)
    def a_worker_dies_now_or_soon(self, data: st.DataObject, death: str) -> None:
        worker = chosen(data, self.living())
        if death == "now":
            worker.die()
            self.do(asyncio.sleep(0))
        worker.death = death

    @precondition(lambda self: any(worker.is_dead for worker in self.workers))
    @rule()
    def the_leases_of_the_dead_end(self) -> None:
        self.do(self.end_leases())

    async def end_leases(self) -> None:
        for worker in self.workers:
            if worker.is_dead:
                await worker.end_lease()
        self.workers = self.living()

    @rule(seconds=st.sampled_from([0.5, 3.0, 8.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.do(asyncio.sleep(seconds))

    # --- what always holds -----------------------------------------------------------------

    @invariant()
    def every_run_ends_once_and_as_it_was_told(self) -> None:
        for run in self.runs.values():
            assert len(run.heard) <= 1, "whoever waits heard of two ends"
            if run.end == "Cancelled":
                assert run.is_wished
            elif run.end == "Crashed":
                assert run.losses >= MAX_CRASHES
            elif run.end is not None:
                assert any(play.is_over for play in run.plays)

    @invariant()
    def no_coroutine_is_interrupted_twice(self) -> None:
        for run in self.runs.values():
            assert all(play.interruptions <= 1 for play in run.plays)

    # --- the end ---------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            self.everything_comes_to_its_end()
        finally:
            for worker in self.living():
                worker.die()
            self.do(asyncio.sleep(0))
            self.runner.close()

    def everything_comes_to_its_end(self) -> None:
        for worker in self.living():
            worker.death = None
        if not self.living():
            self.do(self.start_worker())
        self.do(self.end_leases())
        for _ in range(40):
            self.do(self.take_turns())
        assert [run.run_id for run in self.runs.values() if len(run.heard) != 1] == []
        assert [info for info in self.do(self.waiter.queues.list()) if sum(info[1:4])] == []
        assert self.do(cancel_requests(self.waiter)) == []
        for run in self.runs.values():
            self.is_told(run)

    def is_told(self, run: ModelRun) -> None:
        told = TOLD[run.run_id]
        if run.end == "Cancelled" and not decode_outcome(run.heard[0]).task_key:
            assert run.losses, "a run was ended by somebody who did not know what it was"
        elif run.end == "Cancelled":
            assert told >= 1, "the hooks of a cancelled run were not called"
            assert told == 1 or not self.all_lived, "hooks were called twice"
        else:
            assert told == 0 or not self.all_lived

    async def begin_all(self) -> None:
        for _, runner, job in self.submitted():
            runner.begin(job)
        await asyncio.sleep(0.0001)

    async def take_turns(self) -> None:
        await self.begin_all()
        for _, play in self.acting():
            self.give(play, "return")
        await asyncio.sleep(5.0)


CancellationMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, database=None
)
TestCancellation = CancellationMachine.TestCase
