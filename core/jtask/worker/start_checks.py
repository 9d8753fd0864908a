"""What a worker asks the broker about a run before it executes it."""

import asyncio
import contextlib
import time

from jtask.client.cancel_requests import find_cancel_request
from jtask.client.living_workers import living_workers
from jtask.contract import Broker
from jtask.errors import BrokerError
from jtask.execution.job import Job
from jtask.lifecycle import Execute, Finish, StartDecision, decide_start
from jtask.states import StateName
from jtask.worker.start_counters import START_COUNTER_TTL, start_counter
from jtask.worker.suspects import Suspects

_FRESH_SECONDS = 1.0  # in which what the workers said of themselves is not read again


class StartChecks:
    """The questions, and what follows from the answers.

    Args:
        broker: Where the run comes from.
        suspects: Says how many workers a run may lose.
    """

    def __init__(self, broker: Broker, suspects: Suspects) -> None:
        self._broker = broker
        self._suspects = suspects
        self._read_at = -_FRESH_SECONDS
        self._executing: dict[str, str] = {}
        """Who said last that it executes a run, by run id."""

    async def may_look_up(self, job: Job) -> bool:
        """Tell whether plugins may be asked for a run's outcome; if so, it has its arguments.

        Raises:
            BrokerError: The broker does not answer.
        """
        if job.delivery.redelivered:
            await self._recall_cancellation(job)
        # Without its arguments it cannot be looked up, and ends where it would start.
        return isinstance(await self._fetch_arguments(job), Execute) and job.cancelled is None

    async def decide(self, job: Job) -> StartDecision:
        """Say whether to execute a run, and have its arguments at hand if so.

        Its start is counted here if it lost workers before.

        Raises:
            BrokerError: The broker does not answer.
        """
        decision = await self._admit(job)
        if isinstance(decision, Execute):
            decision = await self._fetch_arguments(job)
        if isinstance(decision, Execute) and job.delivery.redelivered:
            await self._recall_cancellation(job)
        return decision

    async def _admit(self, job: Job) -> StartDecision:
        delivery, run_id = job.delivery, job.delivery.run_id
        # A worker may have died between storing the outcome and the ack.
        settled = delivery.redelivered and await self._broker.results.get(run_id) is not None
        starts = 0
        if delivery.lost_workers and not settled:
            # Counted from the first loss on: a worker may have been lost before it had started the
            # run. Of the first one that is not known, so it is taken for a crash of the run's own.
            # A start that ends without a loss is taken back, see `Settlement`.
            starts = await self._broker.counters.add(
                start_counter(run_id), 1, ttl=START_COUNTER_TTL
            )
            job.counted = True
            job.lost_worker = await self._last_worker_of(run_id)
        return decide_start(
            crashes=min(starts, delivery.lost_workers),
            max_crashes=self._suspects.limit(job),
            settled=settled,
            expires=job.envelope.expires,
            now=time.time(),
        )

    async def _last_worker_of(self, run_id: str) -> str:
        """Return who executed a run and was lost; empty where its heartbeats did not say so."""
        now = time.monotonic()
        if now - self._read_at >= _FRESH_SECONDS:
            self._read_at = now
            # Only for the log: without an answer nobody is named.
            with contextlib.suppress(BrokerError):
                living = await living_workers(self._broker)
                self._executing = {
                    run["run_id"]: worker["name"] for worker in living for run in worker["runs"]
                }
        return self._executing.get(run_id, "")

    async def _recall_cancellation(self, job: Job) -> None:
        # The worker that was asked to end the run has handed it back, or died.
        request = await find_cancel_request(self._broker, job.delivery.run_id)
        if request is not None:
            job.cancelled = request.message

    async def _fetch_arguments(self, job: Job) -> Execute | Finish:
        size, key = job.envelope.blob, f"{job.delivery.run_id}.args"
        if size is None or job.envelope.payload:
            return Execute()
        blob = await self._broker.blobs.get(key, at_most=size)
        if blob is None or not await asyncio.to_thread(job.envelope.holds, blob):
            message = f"its arguments, {size} bytes, are no longer kept as they were sent"
            return Finish(StateName.CRASHED, message, dead_letter=True)
        # `blob` stays set: whoever requeues the run then leaves the arguments where they are.
        job.envelope.payload = blob
        return Execute()
