"""A worker's heart: takes runs from the broker, has them executed, hands on their ends.

Everything here happens on the I/O thread, so no locks are needed.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from jtask.background import BackgroundTasks
from jtask.client.cancel_notices import CancelledDelivery, job_of
from jtask.client.client import Client
from jtask.contract import Broker, Consumption, Delivery, Event
from jtask.declaration.task_info import TaskInfo
from jtask.errors import BrokerError
from jtask.execution.dispositions import Disposition, StoreOutcome
from jtask.execution.hooks_loop import answer_of
from jtask.execution.job import Job, tell_handed_back
from jtask.ids import process_label
from jtask.lifecycle import Discard, Execute, Finish
from jtask.outcomes import CancelResult
from jtask.plugins import hooks_of
from jtask.runtime import HeldRun, RunContext, WorkerInfo
from jtask.serialization.codecs import codecs_of
from jtask.settings import get_settings
from jtask.states import State, StateName
from jtask.wire.envelope import Envelope
from jtask.worker.departures import Departures
from jtask.worker.executions import Executions
from jtask.worker.heartbeat import accompany
from jtask.worker.lineup import Lineup
from jtask.worker.loans import Loans
from jtask.worker.lookups import Lookups
from jtask.worker.sent_outcomes import End, SentOutcome
from jtask.worker.settlement import Settlement
from jtask.worker.slots import SlotPool
from jtask.worker.start_checks import StartChecks
from jtask.worker.supervised import worker_index
from jtask.worker.suspects import Suspects
from jtask.worker.waiters import Waiters
from jtask.worker.waiting import Latch, first_of

T = TypeVar("T")
_GRACE_SECONDS = 1.0  # for cancelled coroutines to end, once the shutdown timeout is over
_log = logging.getLogger("jtask.worker")


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
        client: Client,
        tasks: Iterable[TaskInfo[..., Any]],
        concurrency: int,
        prefetch: int | None = None,
    ) -> None:
        self.client = client
        self._broker = client.broker
        given = tuple(tasks)  # copies of one task among them, each with a queue of its own
        served = tuple({task.key: task for task in reversed(given)}.values())[::-1]
        self._tasks = {key: task for task in served for key in (task.key, *task.other_keys)}
        for task in served:
            # What fails here, such as a @classmethod in the wrong place, must end the start. Found
            # at the first run, it would fail run after run.
            _ = hooks_of(task), codecs_of(task).servable()
        self.info = WorkerInfo(
            name=process_label(),
            tasks=served,
            queues=tuple(dict.fromkeys(queue for task in given for queue in task.queues)),
            concurrency=concurrency,
            url=self._broker.url,
            worker=self,
            worker_index=worker_index(),
        )
        suspects = Suspects(get_settings().max_crashes)
        self._checks = StartChecks(self._broker, suspects)
        self._lookups = Lookups(client, self.info.name, self._checks.may_look_up, self._looked_up)
        self._executing: dict[str, Job] = {}
        self._left_behind = 0  # jobs that executed on when the worker had stopped
        self._idle = asyncio.Event()
        self._idle.set()
        self._started: Latch[bool] = Latch()
        self._stopping: Latch[None] = Latch()
        self._on_give_up: Callable[[str], None] | None = None
        self._given_up: str | None = None
        self._consumption: Consumption | None = None
        self._background = BackgroundTasks()
        self._executions = Executions(
            client,
            self.info.name,
            concurrency,
            self._send,
            self._finish,
            self._note_wait,
            self.give_up,
        )
        # Two runners cannot keep to one number of slots each by itself.
        of_one_kind = len({task.is_async for task in served}) == 1
        slots = SlotPool(concurrency, prefetch, reaches_ahead=of_one_kind)
        waiters = Waiters(get_settings().max_waiting)
        loans = Loans(slots, self._executions, suspects, waiters)
        self._lineup = Lineup(slots, suspects, loans, self._start, self._set_credit)
        departures = Departures(self._lineup.note_held_up)
        self._settlement = Settlement(self._broker, client.events, self.info.name, departures)
        self._rejections = self._settlement.rejections

    async def start(self) -> None:
        """Take runs from now on; on the I/O thread, once.

        Raises:
            ConfigurationError: A setting is wrong.
            TaskDefinitionError: A task is declared in a way that cannot be served.
            BrokerError: The broker refuses.
        """
        self.client.io.on_death(self.give_up)
        self._consumption = await self._broker.runs.consume(
            self.info.queues, self._lineup.credit, self._receive
        )
        self._started.set(True)
        self._background.start(accompany(self._broker, self.info, self.executing))

    async def stop(self, timeout: float, hurry: asyncio.Event) -> int:
        """Take nothing new, finish what is executing or release it; on the I/O thread.

        Args:
            timeout: Seconds that runs may take to finish.
            hurry: Set to release at once.

        Returns:
            int: How many runs were released, started or not.
        """
        self._stopping.set(None)
        self._lineup.close()
        self._started.set(False)
        self.client.io.forget_death(self.give_up)
        if self._consumption is None:
            return 0
        await self._consumption.stop()
        # Released before the wait: they could start elsewhere meanwhile.
        waiting = [
            *self._lookups.take_all(),
            *self._lineup.take_all(),
            *self._take_back_unbegun(),
        ]
        if self._executions.death is not None:
            hurry.set()  # what waits there waits in vain
        for job in waiting:
            await self._settlement.release(job, "handed back before it started")
        await first_of(self._idle.wait(), hurry.wait(), timeout=timeout)
        interrupted = await self._interrupt()
        # What has been executed is worth waiting for: without its outcome it is executed again.
        await first_of(self._settlement.wait(), timeout=get_settings().enqueue_timeout)
        self._background.cancel()
        self.client.events.flush()
        # Only now: closing ends the leases, which unsettled runs need.
        await self._consumption.close()
        return len(waiting) + interrupted

    async def close(self) -> None:
        """End the loop and the threads of the tasks, after `stop`; on the I/O thread.

        Not part of it: plugins may close on that loop what they have opened there for tasks.
        """
        await self._executions.close(self._left_behind)

    def on_give_up(self, callback: Callable[[str], None]) -> None:
        """Call a function with the reason when a plugin ends the worker, in the plugin's thread."""
        self._on_give_up = callback
        if self._given_up is not None:
            callback(self._given_up)

    # --- what plugins ask; `WorkerHandle` says all about it -----------------------------------

    def problem(self) -> str | None:
        """Say why the worker cannot get runs right now; None while all is well."""
        if self._consumption is None:
            return "the worker has not started yet"
        return self._executions.death or self._consumption.problem()

    def give_up(self, reason: str) -> None:
        """End the worker as a signal would, with an error; from any thread.

        Nothing happens where the worker is not what the process is there for, as in a test.
        """
        self._given_up = reason
        if self._on_give_up is not None:
            self._on_give_up(reason)

    def executing(self) -> list[RunContext]:
        """Return the runs that are being executed; from any thread."""
        return [job.run for job in list(self._executing.values()) if job.run is not None]

    def held(self) -> list[HeldRun]:
        """Return the runs that this worker holds, executing or not yet; on the I/O thread."""
        executing = [job.held(has_slot=True) for job in self._executing.values()]
        return executing + [job.held(has_slot=False) for job in self._unstarted()]

    def jobs(self) -> list[Job]:
        """Return what this worker holds, also what only has to be stored; on the I/O thread."""
        return [*self._executing.values(), *self._unstarted(), *self._settlement.unsettled]

    def _unstarted(self) -> list[Job]:
        return [*self._lookups.waiting(), *self._lineup.waiting()]

    def cancel(self, run_id: str, message: str) -> CancelResult:
        """End a run that this worker holds; on the I/O thread.

        A run that was asked before is not interrupted again, so that its clean-up can end.
        """
        for waiting in self._unstarted():
            if waiting.delivery.run_id == run_id:
                self._never_start(waiting, message)
                return CancelResult.NEVER_STARTS
        job = self._executing.get(run_id)
        if job is None or job.is_over:
            return CancelResult.NOT_FOUND
        if job.decision is None:
            if self._executions.take_back(job):
                # It still goes to its runner: hooks are called in the thread or on the loop of the
                # task.
                job.decision = Finish(StateName.CANCELLED, message)
                self._executions.submit(job)
                return CancelResult.NEVER_STARTS
            return self._interrupt_one(job, message)
        # Decided before, and on its way to be settled with that decision.
        cancelled = job.decision.state is StateName.CANCELLED
        return CancelResult.NEVER_STARTS if cancelled else CancelResult.NOT_FOUND

    @property
    def broker(self) -> Broker:
        """The worker's broker; its methods are called on the I/O loop only."""
        return self._broker

    def run_on_io(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine on the I/O loop and block this thread until it is done."""
        return self.client.io.run(coroutine, timeout)

    async def on_io(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the I/O loop and await it from any other loop."""
        return await self.client.io.bridge(coroutine)

    async def on_task_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the event loop of asynchronous tasks; await it from any other loop."""
        return await self._executions.on_loop(coroutine)

    @property
    def is_stopping(self) -> bool:
        """Whether the worker takes no new runs because it was told to stop; from any thread."""
        return self._stopping.is_set

    async def started(self) -> bool:
        """Return once the worker takes runs, or False if it never will; on any event loop."""
        return await self._started.wait()

    async def stopping(self) -> None:
        """Return once the worker takes no new runs; on any event loop."""
        await self._stopping.wait()

    def record(self, event: Event) -> None:
        """Record a state that a run entered without a run context; from any thread."""
        self.client.events.add(event)

    async def notify_cancelled(
        self, run_id: str, envelope: Envelope, queue: str, state: State, token: str | None = None
    ) -> None:
        """Notify the plugins of a run that was cancelled while no worker held it."""
        if self._stopping.is_set:
            raise asyncio.CancelledError
        told = asyncio.get_running_loop().create_future()
        task = self._tasks[envelope.task_key]
        gone = CancelledDelivery(run_id, queue or task.queue, told, token=token)
        job = job_of(gone, envelope, task, state)
        # To call hooks it must not wait for a run that takes hours.
        self._lineup.begin_now(job)
        await told

    def _interrupt_one(self, job: Job, message: str) -> CancelResult:
        # `cancelled` is set before `run` is read, and `perform` does it the other way round: so one
        # of the two sees what the other has done, whichever thread is first.
        first, job.cancelled = job.cancelled is None, message
        run = job.run
        interrupts = job.task.is_async or (run is not None and run.on_cancel is not None)
        if first and run is not None:
            run.cancel(message)
        if first:
            self._executions.cancel(job)
        return CancelResult.INTERRUPTED if interrupts else CancelResult.ASKED

    # --- taking ----------------------------------------------------------------------------

    def _receive(self, delivery: Delivery) -> None:
        try:
            envelope = self._rejections.accept(delivery)
            if envelope is None:
                return
            task = self._tasks.get(envelope.task_key)
            if task is None:
                self._rejections.reschedule_unknown(delivery, envelope)
                return
            job = Job(delivery, envelope, task, time.time())
            if self._stopping.is_set or not self._lookups.add(job):
                self._line_up(job)
        except Exception as error:
            self._rejections.fail(delivery, None, error)

    def _looked_up(self, job: Job, known: Disposition | BaseException | None) -> None:
        if known is None:
            self._line_up(job)
        elif isinstance(known, BaseException):
            self._rejections.fail(job.delivery, job.envelope, known)
        else:
            self._settlement.settle(job, known)

    def _line_up(self, job: Job) -> None:
        if self._stopping.is_set:
            # It was on its way when the pulls were withdrawn.
            handing_back = self._settlement.hand_back(job, "handed back before it started")
            self._background.start(handing_back)
        else:
            self._lineup.add(job)

    def _start(self, job: Job) -> None:
        if not self._executing:
            self._idle.clear()
        self._executing[job.delivery.run_id] = job
        envelope = job.envelope
        delivery = job.delivery
        is_plain = envelope.blob is None and envelope.expires is None
        is_first = not delivery.redelivered and not delivery.lost_workers
        # Nearly all runs are first deliveries: of those the broker need not be asked anything.
        if job.decision is not None or (is_plain and is_first):
            self._submit(job)
        else:
            self._background.start(self._start_checked(job))

    def _submit(self, job: Job) -> None:
        try:
            self._executions.submit(job)
        except Exception as error:  # such as: no thread can be started
            # Later, not within this: its slot goes to the next one, which may fail like it.
            asyncio.get_running_loop().call_soon(self._set_aside, job, error)

    def _set_aside(self, job: Job, error: Exception) -> None:
        self._release((job,))
        self._rejections.fail(job.delivery, job.envelope, error)

    def _never_start(self, job: Job, message: str) -> None:
        job.decision = Finish(StateName.CANCELLED, message)
        self._lookups.remove(job)
        self._lineup.begin_now(job)

    async def _start_checked(self, job: Job) -> None:
        try:
            decision = await self._checks.decide(job)
        except BrokerError as error:
            # Released and not retried: another worker may reach what this one cannot.
            _log.warning("run %s is handed back: %s", job.delivery.run_id, error)
            self._release((job,))
            handing_back = self._settlement.hand_back(job, "handed back unstarted")
            self._background.start(handing_back)
            return
        except Exception as error:
            self._set_aside(job, error)
            return
        if isinstance(decision, Discard):
            self._release((job,))
            self._settlement.discard(job)
            return
        if not isinstance(decision, Execute):
            job.decision = decision
        elif job.cancelled is not None:  # while the broker was asked
            job.decision = Finish(StateName.CANCELLED, job.cancelled)
        self._submit(job)

    # --- executing -------------------------------------------------------------------------

    def _note_wait(self, job: Job, change: int, run_ids: Collection[str]) -> None:
        if self._executing.get(job.delivery.run_id) is job:
            self._lineup.note_wait(job, change, run_ids)

    def _send(self, job: Job, disposition: Disposition) -> SentOutcome | None:
        # In the job's thread. Where there is company, the I/O thread joins many outcomes in one
        # write, which takes less of everybody's time; alone, it would have to be woken first.
        if len(self._executing) > 1 or self._lineup.is_any_waiting or job.is_released:
            return None
        return None if job.notify_only else self._settlement.send(job, disposition)

    def _finish(self, ends: Sequence[End]) -> None:
        # Another worker may have the others by now: what comes of them here comes too late.
        mine = [end for end in ends if not end[0].is_released]
        self._release([job for job, _, _ in mine])
        self._settlement.settle_all([end for end in mine if not end[0].notify_only])
        for job, disposition, _ in mine:
            if job.notify_only:
                job.delivery.ack()
            elif job.decision is not None and job.decision.dead_letter:
                self._notify_rejected(job, job.decision, disposition)

    def _notify_rejected(self, job: Job, decision: Finish, disposition: Disposition) -> None:
        if isinstance(disposition, StoreOutcome) and disposition.letter is not None:
            self._rejections.notify_rejected(job.delivery, decision.message)

    def _release(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._forget(job)
        self._lineup.ended(jobs)

    def _forget(self, job: Job) -> None:
        self._executing.pop(job.delivery.run_id, None)
        if not self._executing:
            self._idle.set()

    def _set_credit(self, credit: int) -> None:
        if self._consumption is not None:
            self._consumption.set_credit(credit)

    # --- stopping --------------------------------------------------------------------------

    async def _interrupt(self) -> int:
        """Release what still executes: cancel coroutines, end children, leave threads behind."""
        interrupted = len(self._executing)
        if not interrupted:
            return 0
        self._executions.interrupt(list(self._executing.values()))
        await first_of(self._idle.wait(), timeout=_GRACE_SECONDS)
        # Those that did not end in time: they execute on, and `_finish` ignores what they report.
        self._left_behind = len(self._executing)
        for job in list(self._executing.values()):
            job.is_released = True
            if job.run is not None:
                job.run.is_handed_back = True
            await self._let_go(job)
        self._executing.clear()
        return interrupted

    async def _let_go(self, job: Job) -> None:
        if job.run is not None and job.run.admission is not None:
            await first_of(answer_of(tell_handed_back(job, job.run)), timeout=_GRACE_SECONDS)
        if job.cancelled is None or job.notify_only:
            await self._settlement.release(job, "handed back by a stopping worker")
            return
        # Handed back, it would start again, although somebody was told that it ends.
        run_id, key = job.delivery.run_id, job.envelope.task_key
        self._settlement.emit(run_id, key, StateName.CANCELLED, job.cancelled)
        end = self._executions.without_execution(job, StateName.CANCELLED, job.cancelled)
        self._settlement.settle(job, end)

    def _take_back_unbegun(self) -> list[Job]:
        taken = self._executions.take_back_all()
        for job in taken:
            self._forget(job)
        return taken
