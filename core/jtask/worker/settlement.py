"""Store what became of a run before the run leaves its queue."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

from jtask.background import BackgroundTasks
from jtask.client.event_buffer import EventBuffer
from jtask.contract import Broker, Delivery, Event, OutcomeRecord
from jtask.errors import BrokerError
from jtask.execution.job import Disposition, Job, Requeue, StoreOutcome, encode_dead_letter
from jtask.outcomes import SettledRun
from jtask.plugins import get_plugins
from jtask.states import State, StateName
from jtask.wire.envelope import Envelope, encode_outcome, unstarted_record

UNKNOWN_TASK_SECONDS = 10.0
"""How long a run of a task that is not served here waits before it is delivered again."""

START_COUNTER_TTL = 7 * 86_400.0
"""Seconds after its last start for which a run that loses workers is remembered."""

PutThen = Callable[[OutcomeRecord, Callable[[bool | BrokerError], None]], None]

_RETRY_SECONDS = 0.5  # between two tries of a write, of which there is no last
_log = logging.getLogger("jtask.worker")


class Settlement:
    """Store outcomes, then ack; reschedule, release and dead-letter. On the I/O thread only.

    Args:
        broker: Whose deliveries these are.
        events: Gets the events of states that are entered without a run context.
        worker: This worker's name.
    """

    def __init__(self, broker: Broker, events: EventBuffer, worker: str) -> None:
        self._broker = broker
        self._events = events
        self._worker = worker
        # Optional in the contract.
        self._put_then: PutThen = getattr(broker.results, "put_then", self._put_slowly)
        self._rejected_hook = get_plugins().caller("jtask_rejected")
        self._unsettled = 0
        self._done = asyncio.Event()
        self._done.set()
        self._background = BackgroundTasks()

    def settle(self, job: Job, disposition: Disposition) -> None:
        """Do what follows from an execution; returns at once.

        Args:
            job: The run.
            disposition: What to do with it. It is tried until the broker has taken it.
        """
        self._one_begun()
        if (
            isinstance(disposition, StoreOutcome)
            and disposition.is_plain
            and job.envelope.blob is None
            and not job.counted
        ):
            record = OutcomeRecord(job.delivery.run_id, disposition.body)
            # Nearly all runs: one message, without a coroutine or a future for each.
            self._put_then(record, partial(self._stored, job, disposition))
        else:
            self._settle_slowly(job, disposition)

    async def wait(self) -> None:
        """Return once the broker has taken everything; never, while it is away."""
        await self._done.wait()

    async def reschedule_unknown(self, delivery: Delivery, key: str) -> None:
        """Leave a run for a worker that has its task.

        Args:
            delivery: The run.
            key: Its task's key, which this worker does not serve.
        """
        reason = f"no task with the key {key!r} is served here"
        self.emit(delivery.run_id, key, StateName.SCHEDULED, reason)
        self.notify_rejected(delivery, reason)
        # Worked out once: `Delivery` wants the same call repeated until it is answered.
        at = time.time() + UNKNOWN_TASK_SECONDS
        with self._awaited():
            await self._insist(lambda: delivery.reschedule(at))

    async def reject_unreadable(self, delivery: Delivery, problem: str) -> None:
        """Dead-letter a message that is not an envelope.

        Args:
            delivery: The message.
            problem: Why it cannot be read, one sentence.
        """
        reason = f"the message cannot be read: {problem}"
        now = time.time()
        unknown = Envelope(delivery.run_id, "", "", "json", b"", created=now)
        state = State(StateName.FAILED, now, reason)
        settled = unstarted_record(delivery.run_id, unknown, state, self._worker)
        self.emit(delivery.run_id, "", StateName.FAILED, reason)
        self.notify_rejected(delivery, reason)
        # The address names the run, so whoever waits for it gets an outcome.
        with self._awaited():
            await self._store(OutcomeRecord(delivery.run_id, encode_outcome(settled)))
            await self._dead_letter(delivery, reason, settled)

    async def release(self, job: Job, message: str) -> None:
        """Give a run to another worker.

        Args:
            job: The run.
            message: Why, for its history.

        Raises:
            BrokerError: The broker has not taken it, and the lease is kept.
        """
        if not job.notify_only:
            self.emit(job.delivery.run_id, job.envelope.task_key, StateName.SCHEDULED, message)
        await self._take_back_start(job)
        await job.delivery.release()

    def emit(self, run_id: str, key: str, state: StateName, detail: str) -> None:
        """Record a state that was entered without a run context.

        Args:
            run_id: The run.
            key: Its task's key; empty when that is not known.
            state: What it entered, now.
            detail: One sentence for people.
        """
        self._events.add(Event(run_id, state, time.time(), key, worker=self._worker, detail=detail))

    def _stored(self, job: Job, disposition: StoreOutcome, answer: bool | BrokerError) -> None:
        if isinstance(answer, bool):
            # Also when another outcome came first: that one stands, and the run is over.
            job.delivery.ack()
            self._one_settled()
        else:
            self._settle_slowly(job, disposition)

    def _put_slowly(
        self, outcome: OutcomeRecord, done: Callable[[bool | BrokerError], None]
    ) -> None:
        """Do what `put_then` does with a store that has none."""

        async def put() -> None:
            try:
                answer: bool | BrokerError = await self._broker.results.put(outcome)
            except BrokerError as error:
                answer = error
            done(answer)

        self._background.start(put())

    def _settle_slowly(self, job: Job, disposition: Disposition) -> None:
        self._background.start(self._settle(job, disposition))

    async def _settle(self, job: Job, disposition: Disposition) -> None:
        try:
            if isinstance(disposition, StoreOutcome):
                await self._store_all(job, disposition)
            elif isinstance(disposition, Requeue):
                if (blob := disposition.blob) is not None:
                    key = f"{job.delivery.run_id}.args"
                    # Before the message that refers to it, which may be delivered at once.
                    await self._insist(lambda: self._broker.blobs.put(key, blob))
                await self._insist(lambda: self._take_back_start(job))
                await self._insist(
                    lambda: job.delivery.reschedule(disposition.at, disposition.body)
                )
            else:
                await self.release(job, "handed back by a stopping worker")
        finally:
            self._one_settled()

    async def _store_all(self, job: Job, disposition: StoreOutcome) -> None:
        run_id = job.delivery.run_id
        if (blob := disposition.blob) is not None:
            # No step may come sooner. The outcome names the blob; after the ack nobody would store
            # the outcome. Whoever dies in between leaves a run that is delivered again: then it is
            # executed again, or acked if its outcome is there.
            await self._insist(lambda: self._broker.blobs.put(f"{run_id}.result", blob))
        await self._store(OutcomeRecord(run_id, disposition.body))
        if job.counted:
            await self._insist(lambda: self._broker.counters.delete(start_counter(run_id)))
        if (letter := disposition.letter) is not None:
            # It keeps its arguments: a replay needs them.
            await self._insist(lambda: job.delivery.dead_letter(letter.reason, letter.body))
            return
        job.delivery.ack()
        if job.envelope.blob is not None:
            # After the ack: a run that is delivered again needs its arguments.
            await self._insist(lambda: self._broker.blobs.delete(f"{run_id}.args"))

    async def _take_back_start(self, job: Job) -> None:
        """Count no start that ended without a loss: only what kills its worker is charged."""
        if job.counted:
            key = start_counter(job.delivery.run_id)
            await self._broker.counters.add(key, -1, ttl=START_COUNTER_TTL)
            job.counted = False

    async def _store(self, record: OutcomeRecord) -> None:
        async def put() -> None:
            if not await self._broker.results.put(record):
                _log.info("run %s had already ended elsewhere", record.run_id)

        await self._insist(put)

    async def _dead_letter(self, delivery: Delivery, reason: str, settled: SettledRun) -> None:
        letter = encode_dead_letter(reason, settled, delivery.body, delivery.priority)
        await self._insist(lambda: delivery.dead_letter(reason, letter))

    async def _insist(self, act: Callable[[], Awaitable[Any]]) -> None:
        """Repeat until the broker has taken it: what was executed is not thrown away."""
        while True:
            try:
                await act()
                return
            except BrokerError as error:
                _log.warning("the broker did not accept a write, retrying: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    def notify_rejected(self, delivery: Delivery, reason: str) -> None:
        """Notify the plugins of a run that could not be executed here.

        Args:
            delivery: The run.
            reason: One sentence.
        """
        if self._rejected_hook is not None:
            run_id, queue = delivery.run_id, delivery.queue
            about = f"for run {run_id} from queue {queue!r}"
            self._rejected_hook.notify(about, run_id=run_id, queue=queue, reason=reason)

    @contextmanager
    def _awaited(self) -> Generator[None]:
        """Let `wait` wait for the end of a block."""
        self._one_begun()
        try:
            yield
        finally:
            self._one_settled()

    def _one_begun(self) -> None:
        self._unsettled += 1
        self._done.clear()

    def _one_settled(self) -> None:
        self._unsettled -= 1
        if not self._unsettled:
            self._done.set()


def start_counter(run_id: str) -> str:
    """Return the name of the counter of a run's starts since it lost its first worker."""
    return f"starts-{run_id}"
