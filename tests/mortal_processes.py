"""Clients and workers on the memory broker that are killed in place of any request to it.

A worker's own code is real; what it executes begins when the test says so, one step at a time.
"""

import asyncio
import queue
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Generic, TypeVar, cast
from unittest import mock

from jtask.contract import SEPARABLE, Delivery
from jtask.execution.job import Job
from jtask.execution.sync_await import run_sync
from jtask.worker import Worker
from jtask.worker.runners import LoopRunner, ThreadRunner
from jtask_cancellation.worker_side import CancelListener
from jtask_memory import MemoryBroker, Storage

P = TypeVar("P")
Turn = queue.SimpleQueue[None]
"""Who has it goes on: the test, or one of the threads."""
PATIENCE = 20  # seconds of the machine's time, for a thread to take its turn


class Process:
    """A client of the broker, until it is killed; also its own I/O thread and event buffer."""

    def __init__(
        self, storage: Storage, loop: asyncio.AbstractEventLoop, death: str | None = None
    ) -> None:
        self.loop = loop
        self.io = self.events = self
        self.inline_limit = 500_000
        self.is_dead = False
        self.died = loop.create_future()
        self.death = death
        self.claims: set[str] = set()
        self._real = MemoryBroker("memory://mortal", storage, loop)
        self.broker = cast("Any", Mortal(self, self._real))

    def die(self) -> None:
        if not self.is_dead:
            self.is_dead = True
            self.died.set_result(None)

    def post(self, function: Callable[..., Any], *args: Any) -> None:
        self.loop.call_soon_threadsafe(lambda: None if self.is_dead else function(*args))

    def on_death(self, callback: Any) -> None:
        """Have a loop that ends with the test only."""

    def forget_death(self, callback: Any) -> None:
        """Undo nothing."""

    def add(self, event: Any) -> None:
        """Keep no events."""

    def on_state(self, run: Any, state: Any) -> None:
        """Keep no events."""

    async def listen(self, topic: str, answer: Callable[[bytes], bytes | None]) -> Any:
        return await self._real.requests.listen(
            topic, lambda q: None if self.is_dead else answer(q)
        )

    async def consume(self, queues: Any, credit: int, receive: Callable[[Delivery], None]) -> Any:
        def take(delivery: Delivery) -> None:
            self.claims.add(delivery.run_id)
            receive(cast("Delivery", Mortal(self, delivery)))

        return await self._real.runs.consume(queues, credit, take)

    def settles(self, delivery: Delivery) -> None:
        self.claims.discard(delivery.run_id)


PARTS = ("runs", "queues", *SEPARABLE)


class Mortal:
    """A broker, a part of it, or a delivery.

    Its user may die in place of a request, which then has no answer.
    """

    def __init__(self, process: Process, real: Any, part: str = "") -> None:
        self._process = process
        self._real = real
        self._part = part

    def __getattr__(self, attribute: str) -> Any:
        process, real, name = self._process, self._real, f"{self._part}{attribute}"
        if name in PARTS:
            return Mortal(process, getattr(real, name), f"{name}.")
        is_own = name in ("requests.listen", "runs.consume")
        found = getattr(process if is_own else real, attribute)
        if not callable(found):
            return found

        def request(*args: Any, **options: Any) -> Any:
            if process.death == name:
                process.die()
            if process.is_dead:
                return process.loop.create_future()
            if name in ("ack", "reschedule", "release", "dead_letter"):
                process.settles(real)
            return found(*args, **options)

        return request


class HeldThreads(ThreadRunner):
    """Threads that begin a job when they are told to, and move one at a time."""

    def __init__(self, perform: Any, size: int, turn: Turn) -> None:
        super().__init__(self._perform_in_turn, size)
        self._whole = perform
        self._turn = turn
        self.submitted: list[Job] = []

    def submit(self, job: Job) -> None:
        self.submitted.append(job)
        if job.decision is not None:
            asyncio.get_running_loop().call_soon(self.begin, job)

    def begin(self, job: Job) -> None:
        self.submitted.remove(job)
        super().submit(job)
        self._turn.get(timeout=PATIENCE)

    def take_back(self, job: Job) -> bool:
        if job not in self.submitted:
            return super().take_back(job)
        self.submitted.remove(job)
        return True

    async def _perform_in_turn(self, job: Job) -> None:
        try:
            await self._whole(job)
        finally:
            self._turn.put(None)


class HeldLoop(LoopRunner):
    """The loop of everything else, on which a job begins when it is told to."""

    def __init__(self, perform: Any, size: int, on_death: Any, on_block: Any) -> None:
        with mock.patch("jtask.worker.runners.new_loop", asyncio.get_running_loop):
            super().__init__(perform, size, on_death, on_block)
        self.submitted: list[Job] = []

    def submit(self, job: Job) -> None:
        self.submitted.append(job)
        if job.decision is not None:
            self.begin(job)

    def begin(self, job: Job) -> None:
        self.submitted.remove(job)
        super().submit(job)

    def take_back(self, job: Job) -> bool:
        if job not in self.submitted:
            return super().take_back(job)
        self.submitted.remove(job)
        return True

    def _run(self) -> None:
        """Be driven by the machine."""


class WorkerProcess(Process, Generic[P]):
    """A worker with one slot that holds two runs more, and what its functions play."""

    def __init__(
        self, storage: Storage, loop: asyncio.AbstractEventLoop, tasks: Iterable[Any], turn: Turn
    ) -> None:
        super().__init__(storage, loop)
        self.plays: list[P] = []
        self.is_buried = False
        with (
            mock.patch("jtask.worker.executions.ThreadRunner", partial(HeldThreads, turn=turn)),
            mock.patch("jtask.worker.executions.LoopRunner", HeldLoop),
        ):
            self.worker = Worker(cast("Any", self), tasks, concurrency=1, prefetch=2)
        self.threads = cast("HeldThreads", self.worker._executions._thread_runner)
        self.coroutines = cast("HeldLoop", self.worker._executions._loop_runner)
        self.listener = CancelListener(self.worker)

    async def start(self) -> None:
        await self.worker.start()
        await self.listener.start()

    def submitted(self) -> list[tuple[Any, Job]]:
        """What could begin, and who begins it."""
        runners = (self.threads, self.coroutines)
        return [(runner, job) for runner in runners for job in runner.submitted]

    def want_nothing(self) -> None:
        """Get no more runs; those that it has stay its own until its lease ends."""
        run_sync(cast("Any", self.worker._consumption).stop())

    async def end_lease(self) -> None:
        await cast("Any", self.worker._consumption).close()
