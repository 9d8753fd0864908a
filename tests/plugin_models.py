"""Processes of a model whose hooks, runs and queues are the real ones, all on one virtual loop."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, cast
from unittest import mock

from virtual_loop import VirtualLoop

from jtask.client.leased_slots import LeasedSlots
from jtask.contract import Delivery, Message, OutcomeRecord
from jtask.execution.dispositions import Requeue
from jtask.execution.job import Job, look_up, perform
from jtask.ids import RunIds
from jtask.lifecycle import Release
from jtask.serialization.codecs import codecs_of
from jtask.settings import Settings
from jtask.wire.envelope import Envelope, decode_envelope
from jtask_memory import MemoryBroker, Storage, VirtualClock

THIS_PROCESS: ContextVar[Any] = ContextVar("THIS_PROCESS")
OnEnd = Callable[[str, bytes], None]
"""Takes a run id and the outcome's wire form."""


class _Io:
    async def bridge(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await work


class Process:
    """A worker with its own link to the broker, and what plugins take for the client.

    Args:
        storage: The broker's.
        loop: The loop of all.
        tasks: What it serves, on the queue "model".
        on_end: Called with each outcome that it stores.
    """

    def __init__(
        self,
        storage: Storage,
        loop: asyncio.AbstractEventLoop,
        tasks: Iterable[Any] = (),
        on_end: OnEnd = lambda run_id, body: None,
    ) -> None:
        self.broker = MemoryBroker("memory://model", storage, loop)
        self.io = _Io()
        self.slots = LeasedSlots(cast("Any", self.io), self.broker)
        self.ids = RunIds()
        self.executing: list[asyncio.Task[None]] = []
        self.plays: list[tuple[str, asyncio.Future[bool]]] = []
        """The attempts that began here; a future is told whether its attempt succeeds."""
        self._tasks = {one.key: one for one in tasks}
        self._on_end = on_end

    async def start(self) -> None:
        """Begin to take runs, as many at once as there are."""
        await self.broker.runs.consume(["model"], 1000, self._receive)

    async def send(self, used: Any, count: int, *arguments: Any, **fields: Any) -> list[str]:
        """Enqueue some runs of a task; return their ids."""
        payload = codecs_of(used).arguments.encode(arguments, {})
        run_ids = [self.ids.new() for _ in range(count)]
        bodies = [
            Envelope(run_id, used.key, used.name, "json", payload, time.time(), **fields).encode()
            for run_id in run_ids
        ]
        await self.broker.runs.enqueue(
            [Message(run_id, "model", body) for run_id, body in zip(run_ids, bodies, strict=True)]
        )
        return run_ids

    def begin(self, run_id: str) -> "asyncio.Future[bool]":
        """Note that an attempt has begun here; return what it is to await."""
        play: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.plays.append((run_id, play))
        return play

    def acting(self) -> list[tuple[str, "asyncio.Future[bool]"]]:
        """Return the attempts that are not over."""
        return [play for play in self.plays if not play[1].done()]

    async def die(self) -> None:
        """End as a crash would: nothing is given back, and nothing is renewed any more."""
        self.slots.close()
        await self.broker.close()

    def raise_what_went_wrong(self) -> None:
        for one in self.executing:
            if one.done() and not one.cancelled():
                one.result()

    def _receive(self, delivery: Delivery) -> None:
        THIS_PROCESS.set(self)
        self.executing.append(asyncio.get_running_loop().create_task(self._execute(delivery)))

    async def _execute(self, delivery: Delivery) -> None:
        envelope = decode_envelope(delivery.body)
        job = Job(delivery, envelope, self._tasks[envelope.task_key], time.time())
        reply: Any = await look_up(job, "worker", 500_000, lambda *_: None)
        if reply is None:
            reply = await perform(
                job, "worker", 500_000, lambda *_: None, lambda: False, lambda *_: None
            )
        assert not isinstance(reply, Release)
        if not isinstance(reply, Requeue):
            if await self.broker.results.put(OutcomeRecord(delivery.run_id, reply.body)):
                self._on_end(delivery.run_id, reply.body)
            delivery.ack()
        elif reply.park is None:
            await delivery.reschedule(reply.at, reply.body)
        else:
            await delivery.park(reply.park.key, reply.at, reply.body)
            assert reply.park.after is not None
            await reply.park.after()


class World:
    """The clock, the broker, a caller and some workers.

    Args:
        tasks: What the workers serve.
        on_end: Called with each outcome.
        clients: Where plugins take their client from, as `mock.patch` names it.
        moment: Seconds after each step in which what follows from it may try again.
    """

    def __init__(
        self,
        tasks: Iterable[Any],
        on_end: OnEnd,
        clients: Iterable[str],
        moment: float = 0.0001,
    ) -> None:
        self._moment = moment
        self.clock = VirtualClock(1_000_000.0)
        self.runner = asyncio.Runner(loop_factory=lambda: VirtualLoop(self.clock))
        self.storage = Storage(self.clock, Settings())
        self.caller = Process(self.storage, self.runner.get_loop())
        self.living: list[Process] = []
        self._dead: list[Process] = []
        self._tasks, self._on_end, self._clients = list(tasks), on_end, list(clients)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something, and all that follows from it at once."""
        with contextlib.ExitStack() as patches:
            for patch in self._patches():
                patches.enter_context(patch)
            return self.runner.run(self._with_all_that_follows(work))

    def acting(self) -> list[tuple[str, "asyncio.Future[bool]"]]:
        """Return the attempts of living workers that are not over."""
        return [play for worker in self.living for play in worker.acting()]

    async def start_worker(self) -> None:
        """Add a worker."""
        worker = Process(self.storage, self.runner.get_loop(), self._tasks, self._on_end)
        self.living.append(worker)
        await worker.start()

    async def kill_worker(self, number: int) -> None:
        """Take a worker away; another comes if it was the last."""
        worker = self.living.pop(number)
        self._dead.append(worker)
        await worker.die()
        if not self.living:
            await self.start_worker()

    def close(self) -> None:
        """End everything."""

        async def end() -> None:
            for worker in self.living:
                await worker.die()
            # Nothing is delivered any more.
            executing = [one for worker in self.living + self._dead for one in worker.executing]
            self.living.clear()
            for one in executing:
                one.cancel()
            await asyncio.gather(*executing, return_exceptions=True)
            await self.caller.die()

        self.do(end())
        self.runner.close()

    def _patches(self) -> Iterator[Any]:
        now = self.clock.time
        yield mock.patch.multiple(time, time=now, monotonic=now)
        for one in self._clients:
            yield mock.patch(one, THIS_PROCESS.get)
        # Hooks are awaited on this one loop too, so that no time passes.
        yield mock.patch("jtask.execution.asking.answer_of", _awaited)

    async def _with_all_that_follows(self, work: Coroutine[Any, Any, Any]) -> Any:
        result = await work
        # The clock moves only when nothing else is left to do.
        await asyncio.sleep(self._moment)
        for worker in self.living:
            worker.raise_what_went_wrong()
        return result


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer
