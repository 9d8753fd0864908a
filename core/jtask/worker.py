"""A worker's heart: takes runs from the broker, has them executed, settles them.

Everything here but `perform` happens on the I/O thread, so no locks are needed.
"""

import asyncio
import json
import logging
import os
import time
from collections import deque
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jtask import lifecycle
from jtask.contract import Consumption, Delivery, Event, OutcomeRecord
from jtask.envelope import decode_envelope, encode_settled
from jtask.errors import BrokerError, EnvelopeError
from jtask.execution import (
    Again,
    Job,
    Reply,
    Settled,
    describe_crash,
    encode_letter,
    perform,
    settle_unstarted,
)
from jtask.ids import process_label
from jtask.intake import Intake
from jtask.lifecycle import DeadLetter, Discard, HandBack, Settle
from jtask.outcomes import SettledRun
from jtask.plugins import call_logged, get_plugins
from jtask.runners import LoopRunner, ThreadRunner
from jtask.settings import get_settings
from jtask.states import State, StateName

if TYPE_CHECKING:
    from jtask.client import Client
    from jtask.tasks import Task

UNKNOWN_TASK_SECONDS = 10.0
"""How long a run that this worker does not know is put off for a worker that does."""

_ANNOUNCE_SECONDS = 10.0
_STORE_RETRY_SECONDS = 0.5
_GRACE_SECONDS = 1.0  # for cancelled coroutines to end, once the shutdown timeout is over
_log = logging.getLogger("jtask.worker")


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker is, given to hooks.

    Attributes:
        name: `host-pid`.
        tasks: The tasks it serves.
        queues: Where their runs come from.
        concurrency: How many runs it executes at once.
        url: The broker.
    """

    name: str
    tasks: "tuple[Task[..., Any], ...]"
    queues: tuple[str, ...]
    concurrency: int
    url: str


class Worker:
    """Execute the runs of some tasks.

    Args:
        client: The process's link to the broker.
        tasks: What to serve.
        concurrency: How many runs at once.
        prefetch: How many runs to hold beyond that; None follows the pace: about what the worker
            ends in a tenth of a second, at least one.
    """

    def __init__(
        self,
        client: "Client",
        tasks: "Iterable[Task[..., Any]]",
        concurrency: int,
        prefetch: int | None = None,
    ) -> None:
        self._client = client
        self._broker = client.broker
        self._tasks = {task.key: task for task in tasks}
        self.info = WorkerInfo(
            name=process_label(),
            tasks=tuple(self._tasks.values()),
            queues=tuple(dict.fromkeys(task.queue for task in self._tasks.values())),
            concurrency=concurrency,
            url=self._broker.url,
        )
        self._max_crashes = get_settings().max_crashes
        self._intake = Intake(concurrency, prefetch)
        self._suspects: deque[Job] = deque()
        self._suspect: Job | None = None
        self._executing: set[Job] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._unsettled = 0
        self._all_settled = asyncio.Event()
        self._all_settled.set()
        self._pacing = False
        self._stopping = False
        self._interrupting = False
        self._consumption: Consumption | None = None
        self._background: set[asyncio.Task[Any]] = set()
        self._set_aside_hook = get_plugins().caller("jtask_set_aside")
        self._loop_runner = LoopRunner(self._perform)
        self._thread_runner = ThreadRunner(self._perform, concurrency)
        self._inline_limit = self._broker.inline_limit

    async def start(self) -> None:
        """Want runs from now on.

        Raises:
            BrokerError: The broker refuses.
        """
        for task in self._tasks.values():
            _ = task.hooks, task.codecs
        self._consumption = await self._broker.consume(
            self.info.queues, self._intake.credit, self._receive
        )
        self._spawn(self._announce())

    async def stop(self, timeout: float, hurry: asyncio.Event) -> int:
        """Take nothing new, finish what is executing or hand it back.

        Args:
            timeout: Seconds that runs may take to finish.
            hurry: Set to hand back at once.

        Returns:
            int: How many runs were handed back.
        """
        self._stopping = True
        if self._consumption is None:
            return 0
        await self._consumption.stop()
        waiting = [*self._intake.take_all(), *self._suspects]
        self._suspects.clear()
        await self._hand_back(waiting)
        await _first_of(self._idle.wait(), hurry.wait(), timeout=timeout)
        interrupted = await self._interrupt()
        await _first_of(self._all_settled.wait(), timeout=get_settings().enqueue_timeout)
        for task in list(self._background):
            task.cancel()
        self._client.events.flush()
        await self._consumption.close()
        self._loop_runner.close()
        self._thread_runner.close()
        return len(waiting) + interrupted

    def problem(self) -> str | None:
        """Say why the worker cannot get runs right now; None while all is well."""
        return None if self._consumption is None else self._consumption.problem()

    # --- taking ----------------------------------------------------------------------------

    def _receive(self, delivery: Delivery) -> None:
        try:
            envelope = decode_envelope(delivery.body)
        except EnvelopeError as error:
            self._spawn(self._set_aside_unreadable(delivery, str(error)))
            return
        task = self._tasks.get(envelope.task_key)
        if task is None:
            self._spawn(self._put_off_unknown(delivery, envelope.task_key))
            return
        job = Job(delivery, envelope, task, time.time())
        if self._stopping:
            self._spawn(self._hand_back([job]))
        elif lifecycle.is_suspect(delivery.deliveries):
            self._suspects.append(job)
            self._dispatch()
        else:
            self._intake.add(job)
            self._dispatch()

    def _dispatch(self) -> None:
        if self._suspects and self._suspect is None and self._intake.take_slot():
            self._suspect = self._suspects.popleft()
            self._start(self._suspect)
        while (job := self._intake.next_job()) is not None:
            self._start(job)

    def _start(self, job: Job) -> None:
        self._executing.add(job)
        self._idle.clear()
        plain = job.delivery.deliveries == 1 and job.envelope.blob is None
        if plain and job.envelope.expires is None:
            self._submit(job)
        else:
            self._spawn(self._start_checked(job))

    def _submit(self, job: Job) -> None:
        runner = self._loop_runner if job.task.is_async else self._thread_runner
        runner.submit(job)

    async def _start_checked(self, job: Job) -> None:
        try:
            decision = await self._admit(job)
            if job.envelope.blob is not None and isinstance(decision, lifecycle.Execute):
                blob = await self._broker.get_blob(f"{job.delivery.run_id}.args")
                if blob is None:
                    decision = DeadLetter(StateName.CRASHED, "its arguments are no longer kept")
                else:
                    job.envelope.payload = blob
        except BrokerError as error:
            _log.warning("run %s is handed back: %s", job.delivery.run_id, error)
            self._release(job)
            await job.delivery.hand_back()
            return
        if isinstance(decision, lifecycle.Execute):
            self._submit(job)
        else:
            await self._end_unstarted(job, decision)

    async def _admit(self, job: Job) -> lifecycle.Admission:
        redelivered = job.delivery.deliveries > 1
        run_id = job.delivery.run_id
        settled = redelivered and await self._broker.get(run_id) is not None
        # A start is counted from the second delivery on; the first one is taken for a crash.
        crashes = 0
        if redelivered and not settled:
            crashes = await self._broker.add(_crash_counter(run_id), 1)
        return lifecycle.admit(
            crashes=crashes,
            max_crashes=self._max_crashes,
            settled=settled,
            expires=job.envelope.expires,
            now=time.time(),
        )

    async def _end_unstarted(self, job: Job, decision: DeadLetter | Discard | Settle) -> None:
        if not isinstance(decision, Discard):
            state = State(decision.state, time.time(), decision.message)
            settled = settle_unstarted(job, self.info.name, state)
            await self._store(OutcomeRecord(settled.run_id, encode_settled(settled)))
            self._emit(settled.run_id, job.task.key, state.name, state.message)
            if isinstance(decision, DeadLetter):
                letter = encode_letter(decision.message, settled, job.delivery.body)
                await self._dead_letter(job.delivery, decision.message, letter)
                self._tell_set_aside(job.delivery, decision.message)
                self._release(job)
                return
        self._release(job)
        job.delivery.ack()

    # --- executing -------------------------------------------------------------------------

    async def _perform(self, job: Job) -> None:
        """Execute a job on a runner's thread and report to the I/O thread."""
        try:
            reply = await perform(
                job,
                self.info.name,
                self._inline_limit,
                self._client.events.on_state,
                self._is_interrupting,
            )
        except BaseException as error:
            reply = self._give_up_on(job, error)
        self._client.io.post(self._finish, job, reply)

    def _give_up_on(self, job: Job, error: BaseException) -> Reply:
        if self._interrupting and isinstance(error, asyncio.CancelledError):
            return HandBack()
        # Settled, for what fails in jtask itself would fail again in every worker.
        _log.error("run %s could not be executed", job.delivery.run_id, exc_info=error)
        state = State(StateName.CRASHED, time.time(), describe_crash(error))
        return Settled(encode_settled(settle_unstarted(job, self.info.name, state)))

    def _is_interrupting(self) -> bool:
        return self._interrupting

    # --- settling --------------------------------------------------------------------------

    def _finish(self, job: Job, reply: Reply) -> None:
        if job.abandoned:
            return
        self._unsettled += 1
        self._all_settled.clear()
        self._release(job)
        if isinstance(reply, Settled) and reply.blob is None:
            record = OutcomeRecord(job.delivery.run_id, reply.body)
            stored = asyncio.ensure_future(self._broker.put(record))
            stored.add_done_callback(lambda done: self._stored(job, record, done))
        else:
            self._spawn(self._finish_slowly(job, reply))

    def _stored(self, job: Job, record: OutcomeRecord, done: "asyncio.Future[bool]") -> None:
        if not done.cancelled() and done.exception() is None and job.envelope.blob is None:
            job.delivery.ack()
            self._one_settled()
        else:
            self._spawn(self._finish_slowly(job, Settled(record.body)))

    async def _finish_slowly(self, job: Job, reply: Reply) -> None:
        run_id = job.delivery.run_id
        try:
            if isinstance(reply, Settled):
                if (blob := reply.blob) is not None:
                    await self._insist(lambda: self._broker.put_blob(f"{run_id}.result", blob))
                await self._store(OutcomeRecord(run_id, reply.body))
                job.delivery.ack()
                if job.envelope.blob is not None:
                    await self._broker.delete_blob(f"{run_id}.args")
            elif isinstance(reply, Again):
                await self._insist(lambda: job.delivery.put_off(reply.at, reply.body))
            else:
                await self._give_up(job)
        finally:
            self._one_settled()

    def _one_settled(self) -> None:
        self._unsettled -= 1
        if not self._unsettled:
            self._all_settled.set()

    async def _store(self, record: OutcomeRecord) -> None:
        async def put() -> None:
            if not await self._broker.put(record):
                _log.info("run %s had already ended elsewhere", record.run_id)

        await self._insist(put)

    async def _insist(self, act: Any) -> None:
        """Repeat until the broker has taken it: what was executed is not thrown away."""
        while True:
            try:
                await act()
                return
            except BrokerError as error:
                _log.warning("the broker did not take an outcome, trying again: %s", error)
                await asyncio.sleep(_STORE_RETRY_SECONDS)

    def _release(self, job: Job) -> None:
        self._executing.discard(job)
        if not self._executing:
            self._idle.set()
        self._intake.free_slot()
        if not self._pacing:
            self._pacing = True
            self._client.io.loop.call_later(Intake.PACE_SECONDS, self._follow_pace)
        if job is self._suspect:
            self._suspect = None
        if not self._stopping:
            self._dispatch()

    # --- setting aside ---------------------------------------------------------------------

    async def _put_off_unknown(self, delivery: Delivery, key: str) -> None:
        reason = f"no task with the key {key!r} is served here"
        self._report_set_aside(delivery, key, reason)
        at = time.time() + UNKNOWN_TASK_SECONDS
        await self._insist(lambda: delivery.put_off(at))

    async def _set_aside_unreadable(self, delivery: Delivery, problem: str) -> None:
        reason = f"the message cannot be read: {problem}"
        self._report_set_aside(delivery, "", reason, StateName.FAILED)
        now = time.time()
        settled = SettledRun(
            run_id=delivery.run_id,
            task_key="",
            task_name="",
            state=State(StateName.FAILED, now, reason),
            attempt=1,
            created=now,
            started=None,
            ended=now,
            run_time=0.0,
            worker=self.info.name,
            serializer="json",
        )
        await self._store(OutcomeRecord(delivery.run_id, encode_settled(settled)))
        letter = encode_letter(reason, settled, delivery.body)
        await self._dead_letter(delivery, reason, letter)

    async def _dead_letter(self, delivery: Delivery, reason: str, letter: bytes) -> None:
        await self._insist(lambda: delivery.dead_letter(reason, letter))

    def _report_set_aside(
        self,
        delivery: Delivery,
        key: str,
        reason: str,
        state: StateName = StateName.SCHEDULED,
    ) -> None:
        self._emit(delivery.run_id, key, state, reason)
        self._tell_set_aside(delivery, reason)

    def _tell_set_aside(self, delivery: Delivery, reason: str) -> None:
        call_logged(
            self._set_aside_hook, run_id=delivery.run_id, queue=delivery.queue, reason=reason
        )

    # --- stopping --------------------------------------------------------------------------

    async def _hand_back(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._emit(
                job.delivery.run_id,
                job.envelope.task_key,
                StateName.SCHEDULED,
                "handed back before it started",
            )
            await job.delivery.hand_back()

    async def _interrupt(self) -> int:
        """Take back what still executes: cancel coroutines, leave threads behind."""
        interrupted = len(self._executing)
        if not interrupted:
            return 0
        self._interrupting = True
        self._loop_runner.cancel_all()
        await _first_of(self._idle.wait(), timeout=_GRACE_SECONDS)
        for job in list(self._executing):
            job.abandoned = True
            self._executing.discard(job)
            await self._give_up(job)
        return interrupted

    async def _give_up(self, job: Job) -> None:
        """Hand back a started run, which is no crash."""
        if job.delivery.deliveries > 1:
            await self._broker.add(_crash_counter(job.delivery.run_id), -1)
        self._emit(
            job.delivery.run_id,
            job.envelope.task_key,
            StateName.SCHEDULED,
            "handed back by a stopping worker",
        )
        await job.delivery.hand_back()

    # --- standing chores -------------------------------------------------------------------

    async def _announce(self) -> None:
        info = {
            "host": os.uname().nodename,
            "pid": os.getpid(),
            "started": time.time(),
            "queues": self.info.queues,
            "tasks": [task.name for task in self.info.tasks],
            "concurrency": self.info.concurrency,
        }
        while True:
            try:
                body = json.dumps(info | {"executing": len(self._executing)}).encode()
                await self._broker.announce(self.info.name, body, 3 * _ANNOUNCE_SECONDS)
            except BrokerError as error:
                _log.debug("the worker could not announce itself: %s", error)
            await asyncio.sleep(_ANNOUNCE_SECONDS)

    def _follow_pace(self) -> None:
        """Adapt the credit while runs end; an idle worker has no timer for it."""
        changed = self._intake.adapt()
        self._pacing = changed and not self._stopping
        if self._pacing:
            self._client.io.loop.call_later(Intake.PACE_SECONDS, self._follow_pace)
        if changed and self._consumption is not None:
            self._consumption.set_credit(self._intake.credit)

    def _emit(self, run_id: str, key: str, state: StateName, detail: str) -> None:
        event = Event(run_id, state, time.time(), key, worker=self.info.name, detail=detail)
        self._client.events.add(event)

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _crash_counter(run_id: str) -> str:
    return f"crashes-{run_id}"


async def _first_of(*waits: Coroutine[Any, Any, Any], timeout: float) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
