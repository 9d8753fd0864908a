"""What a worker executes: jobs on their runners, until each one's end is reported."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from jtask.client.cancel_notices import no_event
from jtask.client.client import Client
from jtask.client.gathered import Gathered
from jtask.errors import RunAbandoned
from jtask.execution.dispositions import Disposition, StoreOutcome
from jtask.execution.job import Job, describe_crash, finish_abandoned, perform
from jtask.lifecycle import Release
from jtask.runtime.loop_blocks import is_any_loop_blocked
from jtask.states import State, StateName
from jtask.wire.envelope import encode_outcome, unstarted_record
from jtask.worker.runners import LoopRunner, ThreadRunner
from jtask.worker.sent_outcomes import End, SentOutcome

if TYPE_CHECKING:
    from jtask.runtime import RunContext

T = TypeVar("T")
_log = logging.getLogger("jtask.worker")


class Executions:
    """Execute jobs on a loop or in threads, and report their ends on the I/O thread.

    Args:
        client: The process's link to the broker.
        worker: This worker's name.
        size: How many jobs each runner executes at once.
        send: Called in the job's thread before that; may send its outcome off.
        finish: Called on the I/O thread with the ends of jobs, each once.
        note_wait: Called on the I/O thread as a job begins to wait for other runs, and goes on.
        on_death: Called with the reason, from any thread, when nothing can be executed any more.

    Attributes:
        interrupting: Whether the worker takes its runs back in order to stop.
    """

    def __init__(
        self,
        client: Client,
        worker: str,
        size: int,
        send: Callable[[Job, Disposition], SentOutcome | None],
        finish: Callable[[Sequence[End]], None],
        note_wait: Callable[[Job, int, Collection[str]], None],
        on_death: Callable[[str], object],
    ) -> None:
        self._client = client
        self._worker = worker
        self._send = send
        self._ends = Gathered[End](client.io, finish)
        self._note_wait = note_wait
        self._on_state = client.events.on_state
        self.interrupting = False
        self._loop_runner = LoopRunner(self._perform, size, on_death, self._on_block)
        self._thread_runner = ThreadRunner(self._perform, size)

    @property
    def death(self) -> str | None:
        """Why nothing can be executed any more, in one sentence; None while it can."""
        return self._loop_runner.death

    def submit(self, job: Job) -> None:
        """Execute a job when its runner has room; on the I/O thread."""
        self._runner(job).submit(job)
        if is_any_loop_blocked():
            self._loop_runner.end_deadlock()

    def take_back(self, job: Job) -> bool:
        """Keep a job from starting; False when it has started."""
        return self._runner(job).take_back(job)

    def take_back_all(self) -> list[Job]:
        """Let nothing more start; return what has not."""
        return [*self._loop_runner.take_back_all(), *self._thread_runner.take_back_all()]

    def resize(self, job: Job, by: int) -> None:
        """Let the runner of a job execute more at once, or fewer again; on the I/O thread."""
        self._runner(job).resize(by)

    def cancel(self, job: Job) -> None:
        """Cancel the coroutine of one job, if it has one that executes."""
        if job.task.is_async:
            self._loop_runner.cancel(job)

    def interrupt(self, jobs: list[Job]) -> None:
        """Cancel all coroutines, and what plugins execute elsewhere; threads are left behind."""
        self.interrupting = True
        self._loop_runner.cancel_all()
        for job in jobs:
            if job.run is not None and job.run.on_cancel is not None:
                job.run.on_cancel()

    async def on_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop of asynchronous jobs and await it from any other loop."""
        return await self._loop_runner.run(coroutine)

    async def close(self, left_behind: int) -> None:
        """End the loop and the threads, a busy one after its job.

        Args:
            left_behind: How many jobs execute on, perhaps for hours.
        """
        await self._loop_runner.close()
        await self._thread_runner.close(left_behind)

    def _runner(self, job: Job) -> LoopRunner | ThreadRunner:
        return self._loop_runner if job.task.is_async else self._thread_runner

    async def _perform(self, job: Job) -> None:
        """Execute a job on a runner's thread and report to the I/O thread."""
        try:
            disposition = await perform(
                job,
                self._worker,
                self._client.inline_limit,
                no_event if job.notify_only else self._on_state,
                self._is_interrupting,
                self._abandon,
                self._on_wait,
            )
        except RunAbandoned:
            # Its end has been reported: by `_perform_end`, when it was abandoned.
            return
        except BaseException as error:
            disposition = self._give_up_on(job, error)
        # One that was left behind may come here too: when its loop has ended, it is torn down.
        if not job.is_abandoned:
            sent = self._send(job, disposition)
            self._ends.add((job, disposition, sent))

    def _is_interrupting(self) -> bool:
        return self.interrupting

    def _on_wait(self, job: Job, change: int, run_ids: Collection[str]) -> None:
        self._client.io.post(self._wait_noted, job, change, run_ids)

    def _wait_noted(self, job: Job, change: int, run_ids: Collection[str]) -> None:
        self._note_wait(job, change, run_ids)
        if is_any_loop_blocked():
            self._loop_runner.end_deadlock()

    def _on_block(self) -> None:
        self._client.io.post(self._loop_runner.end_deadlock)

    def _abandon(self, job: Job, error: BaseException) -> None:
        cast("RunContext", job.run).is_abandoned = True
        _log.warning(
            "run %s of task %s was interrupted and has not ended: "
            "it is left behind, its slot is free",
            job.delivery.run_id,
            job.task.name,
        )
        self._runner(job).replace(self._perform_end(job, error))

    async def _perform_end(self, job: Job, error: BaseException) -> None:
        try:
            disposition = await finish_abandoned(job, error, self._client.inline_limit)
        except BaseException as failure:
            disposition = self._give_up_on(job, failure)
        self._ends.add((job, disposition, None))

    def _give_up_on(self, job: Job, error: BaseException) -> Disposition:
        cancelled = isinstance(error, asyncio.CancelledError)
        if cancelled and job.cancelled is not None:
            return self.without_execution(job, StateName.CANCELLED, job.cancelled)
        if cancelled and self.interrupting:
            return Release()
        # Settled, for what fails in jtask itself would fail again in every worker.
        _log.error("run %s could not be executed", job.delivery.run_id, exc_info=error)
        return self.without_execution(job, StateName.CRASHED, describe_crash(error))

    def without_execution(self, job: Job, state: StateName, message: str) -> StoreOutcome:
        """Return the end of a job of which no attempt tells how it ended.

        Args:
            job: The run.
            state: How it ends.
            message: One sentence for people.
        """
        end = State(state, time.time(), message)
        record = unstarted_record(job.delivery.run_id, job.envelope, end, self._worker)
        return StoreOutcome(encode_outcome(record))
