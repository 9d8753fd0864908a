"""Store what became of a run before the run leaves its queue."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

from jtask.background import BackgroundTasks
from jtask.client.event_buffer import EventBuffer
from jtask.contract import BLOB_MARGIN, Broker, Delivery, Event, OutcomeRecord
from jtask.errors import BrokerError
from jtask.execution.dispositions import (
    Disposition,
    Requeue,
    StoreOutcome,
)
from jtask.execution.hooks_loop import answer_of
from jtask.execution.job import Job
from jtask.foreign_text import cut, shown
from jtask.settings import get_settings
from jtask.states import StateName
from jtask.stored_ends import StoredEnd
from jtask.wire.envelope_reader import EnvelopeReader
from jtask.worker.departures import Departures
from jtask.worker.insistence import Insistence
from jtask.worker.letters import LONGEST_REASON, Letters
from jtask.worker.outcome_store import OutcomeStore
from jtask.worker.rejections import Rejections
from jtask.worker.sent_outcomes import End, OnAnswer, SentOutcome, is_one_message
from jtask.worker.start_counters import START_COUNTER_TTL, start_counter

PutFromThread = Callable[[OutcomeRecord, OnAnswer], None]
PutMany = Callable[
    [Sequence[str], Sequence[bytes], Callable[[Sequence[int], bool | BrokerError], None]], None
]
AckMany = Callable[[Sequence[Delivery]], None]

_IS_NEWS = True
_log = logging.getLogger("jtask.worker")


class Settlement:
    """Store outcomes, then ack; reschedule, release and dead-letter. On the I/O thread only.

    Args:
        broker: Whose deliveries these are.
        events: Gets the events of states that are entered without a run context.
        worker: This worker's name.
        departures: Of the runs whose ends are stored, or that are queued again.
    """

    def __init__(
        self, broker: Broker, events: EventBuffer, worker: str, departures: Departures
    ) -> None:
        self._broker = broker
        self._events = events
        self._worker = worker
        self._departures = departures
        # Optional in the contract.
        results = broker.results
        self._put_many: PutMany = getattr(results, "put_many", self._put_each)
        self._put_from_thread: PutFromThread | None = getattr(results, "put_from_thread", None)
        self._ack_many: AckMany = getattr(broker.runs, "ack_many", _ack_each)
        self._insist = Insistence()
        self._outcomes = OutcomeStore(broker, self._insist)
        self._end_news = self._outcomes.end_news
        envelopes = EnvelopeReader()
        self._letters = Letters(broker.blobs, envelopes, self._insist)
        self.rejections = Rejections(
            worker, self._outcomes, self._letters, envelopes, self._insist, self.emit
        )
        """What it does with runs that it cannot execute."""
        self.unsettled: set[Job] = set()
        """What the broker has not taken yet."""
        self._done = asyncio.Event()
        self._done.set()
        self._background = BackgroundTasks()
        self._discarding = BackgroundTasks()

    def send(self, job: Job, disposition: Disposition) -> SentOutcome | None:
        """Send an outcome from the thread that executed the run; `settle` does the rest.

        Args:
            job: The run.
            disposition: What to do with it.

        Returns:
            SentOutcome | None: None when nothing was sent, for whatever reason.
        """
        if self._put_from_thread is None or not is_one_message(disposition, job):
            return None
        sent = SentOutcome()
        try:
            self._put_from_thread(
                OutcomeRecord(job.delivery.run_id, disposition.body), sent.answered
            )
        except Exception:
            return None  # `settle` meets it as well
        return sent

    def settle(self, job: Job, disposition: Disposition) -> None:
        """Do what follows from an execution; returns at once.

        Args:
            job: The run.
            disposition: What to do with it. It is tried until the broker has taken it.
        """
        self.settle_all([(job, disposition, None)])

    def settle_all(self, ends: Sequence[End]) -> None:
        """Do `settle` with many runs, and with what `send` has returned of each."""
        if not ends:
            return
        if not self.unsettled:
            self._done.clear()
        # All at first: one whose answer is here already is settled in the middle of the others.
        self.unsettled.update(job for job, _, _ in ends)
        together: list[tuple[Job, StoreOutcome]] = []
        for job, disposition, sent in ends:
            if not is_one_message(disposition, job):
                self._settle_slowly(job, disposition)
            elif sent is not None:
                sent.then(partial(self._answered, [(job, disposition)], (0,)))
            else:
                together.append((job, disposition))
        if together:
            self._store_together(together)

    def _store_together(self, ends: Sequence[tuple[Job, StoreOutcome]]) -> None:
        # Nearly all runs: one message, without a coroutine or a future for each.
        run_ids = [job.delivery.run_id for job, _ in ends]
        bodies = [disposition.body for _, disposition in ends]
        try:
            self._put_many(run_ids, bodies, partial(self._answered, ends))
        except Exception:  # it is refused before anything is sent
            for job, disposition in ends:
                self._settle_slowly(job, disposition)

    async def wait(self) -> None:
        """Return once the broker has taken everything; never, while it is away."""
        while self.unsettled or any(self._discarding) or self.rejections.are_any:
            await self._done.wait()
            await self._discarding.wait()
            await self.rejections.wait()

    async def hand_back(self, job: Job, message: str) -> None:
        """Do `release`, until the broker has taken it.

        Args:
            job: The run.
            message: Why, for its history.
        """
        try:
            await self._insist(lambda: self.release(job, message))
        except Exception as error:
            self.rejections.fail(job.delivery, job.envelope, error)

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

    def _answered(
        self,
        ends: Sequence[tuple[Job, StoreOutcome]],
        places: Sequence[int],
        answer: bool | BrokerError,
    ) -> None:
        if isinstance(answer, bool):
            # Also when another outcome came first: that one stands, and the run is over.
            self._let_leave([ends[place][0] for place in places])
        else:
            for place in places:
                self._settle_slowly(*ends[place])

    def _let_leave(self, jobs: list[Job]) -> None:
        """Ack runs whose ends are stored; first tell whoever waits for them."""
        if self._end_news.is_heard:
            jobs = self._tell(jobs)
        self._ack_many([job.delivery for job in jobs])
        self.unsettled.difference_update(jobs)
        if not self.unsettled:
            self._look_whether_done()

    def _tell(self, jobs: list[Job]) -> list[Job]:
        """Tell the plugins of stored ends; return the runs for which they need no time."""
        broker, tell = self._broker, self._end_news.tell
        leaving: list[Job] = []
        for job in jobs:
            end = StoredEnd(job.delivery.run_id, broker, _IS_NEWS)
            if rest := tell(end):
                self._background.start(self._leave(job, end, rest))
            else:
                leaving.append(job)
        return leaving

    async def _leave(self, job: Job, end: StoredEnd, rest: list[Awaitable[None]]) -> None:
        # Not in a `finally`: a worker that is torn down here leaves the run to the next one.
        with self._departures.one():
            await self._end_news.finish(end, rest)
        job.delivery.ack()
        self._one_settled(job)

    def _put_each(
        self,
        run_ids: Sequence[str],
        bodies: Sequence[bytes],
        done: Callable[[Sequence[int], bool | BrokerError], None],
    ) -> None:
        """Do what `put_many` does with a store that has none."""

        async def put(place: int, outcome: OutcomeRecord) -> None:
            try:
                answer: bool | BrokerError = await self._broker.results.put(outcome)
            except BrokerError as error:
                answer = error
            except Exception as error:  # of a store that is somebody else's
                answer = BrokerError(str(error))
            done((place,), answer)

        for place, outcome in enumerate(map(OutcomeRecord, run_ids, bodies)):
            self._background.start(put(place, outcome))

    def _settle_slowly(self, job: Job, disposition: Disposition) -> None:
        self._background.start(self._settle(job, disposition))

    async def _settle(self, job: Job, disposition: Disposition) -> None:
        try:
            await self._carry_out(job, disposition)
        except Exception as error:
            # Whatever it is, it would be the same the next time.
            reason = f"its end could not be stored: {shown(cut(str(error), LONGEST_REASON))}"
            _log.error("run %s: %s", job.delivery.run_id, reason, exc_info=error)
            await self.rejections.set_aside(
                job.delivery, replace(job.envelope, history=()), StateName.CRASHED, reason
            )
        finally:
            self._one_settled(job)

    async def _carry_out(self, job: Job, disposition: Disposition) -> None:
        if isinstance(disposition, StoreOutcome):
            await self._store_all(job, disposition)
        elif isinstance(disposition, Requeue):
            with self._departures.one():
                await self._requeue(job, disposition)
        else:
            await self.hand_back(job, "handed back by a stopping worker")

    async def _requeue(self, job: Job, requeue: Requeue) -> None:
        if (blob := requeue.blob) is not None:
            key = f"{job.delivery.run_id}.args"
            # Before the message that refers to it, which may be delivered at once.
            await self._insist(lambda: self._broker.blobs.put(key, blob))
        await self._insist(lambda: self._take_back_start(job))
        await self._queue_again(job.delivery, requeue)

    async def _queue_again(self, delivery: Delivery, requeue: Requeue) -> None:
        park, at, body = requeue.park, requeue.at, requeue.body
        if park is None:
            await self._insist(lambda: delivery.reschedule(at, body))
            return
        await self._insist(lambda: delivery.park(park.key, at, body))
        if park.after is not None:
            try:
                await answer_of(park.after())
            except Exception:
                # It comes at its instant.
                _log.exception("run %s is parked, and may be woken late", delivery.run_id)

    async def _store_all(self, job: Job, disposition: StoreOutcome) -> None:
        run_id = job.delivery.run_id
        if (blob := disposition.blob) is not None:
            # No step may come sooner. The outcome names the blob; after the ack nobody would store
            # the outcome. Whoever dies in between leaves a run that is delivered again: then it is
            # executed again, or acked if its outcome is there.
            life = get_settings().result_ttl + BLOB_MARGIN
            await self._insist(lambda: self._broker.blobs.put(f"{run_id}.result", blob, ttl=life))
        # What is not stored yet counts: it would be executed again if this process died.
        await self._outcomes.put(OutcomeRecord(run_id, disposition.body))
        with self._departures.one():
            await self._depart(job, disposition)

    async def _depart(self, job: Job, disposition: StoreOutcome) -> None:
        run_id = job.delivery.run_id
        await self._outcomes.tell_stored(run_id, is_news=True)
        if job.counted:
            await self._insist(lambda: self._broker.counters.delete(start_counter(run_id)))
        if (letter := disposition.letter) is not None:
            # It keeps its arguments: a replay needs them.
            await self._letters.keep(job.delivery, job.envelope, letter)
            return
        if job.envelope.blob is not None:
            # Before the ack: should this process die, the run is delivered again, and whoever finds
            # that it is over deletes them.
            await self._insist(lambda: self._broker.blobs.delete(f"{run_id}.args"))
        job.delivery.ack()

    def discard(self, job: Job) -> None:
        """Take a run off its queue whose end is stored already; returns at once.

        Args:
            job: The run.
        """
        if job.envelope.blob is None and not self._end_news.is_heard:
            job.delivery.ack()
        else:
            self._discarding.start(self._discard(job))

    async def _discard(self, job: Job) -> None:
        """Ack, and do what whoever stored the end may not have lived to do."""
        run_id = job.delivery.run_id

        async def delete_arguments() -> None:
            if await self._broker.dead_letters.get(run_id) is None:
                await self._broker.blobs.delete(f"{run_id}.args")

        with self._departures.one():
            await self._outcomes.tell_stored(run_id, is_news=False)
        try:
            if job.envelope.blob is not None:
                await self._insist(delete_arguments)
        finally:
            job.delivery.ack()

    async def _take_back_start(self, job: Job) -> None:
        """Count no start that ended without a loss: only what kills its worker is charged."""
        if job.counted:
            key = start_counter(job.delivery.run_id)
            await self._broker.counters.add(key, -1, ttl=START_COUNTER_TTL)
            job.counted = False

    def _one_settled(self, job: Job) -> None:
        self.unsettled.discard(job)
        self._look_whether_done()

    def _look_whether_done(self) -> None:
        if not self.unsettled:
            self._done.set()


def _ack_each(deliveries: Sequence[Delivery]) -> None:
    for delivery in deliveries:
        delivery.ack()
