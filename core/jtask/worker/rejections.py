"""What a worker does with messages and runs that it cannot execute."""

import logging
import time
from collections.abc import Callable

from jtask.background import BackgroundTasks
from jtask.contract import Delivery, OutcomeRecord
from jtask.errors import EnvelopeError, MessageRefused
from jtask.execution.dispositions import DeadLetterBody, encode_dead_letter
from jtask.execution.job import describe_crash
from jtask.foreign_text import cut
from jtask.plugins import get_plugins
from jtask.rate_limited_log import RateLimitedLog
from jtask.states import State, StateName
from jtask.wire.envelope import Envelope, encode_outcome, unstarted_record
from jtask.wire.envelope_reader import EnvelopeReader
from jtask.worker.insistence import Insist
from jtask.worker.letters import LONGEST_REASON, Letters
from jtask.worker.outcome_store import OutcomeStore
from jtask.worker.unknown_tasks import unknown_task_seconds

Emit = Callable[[str, str, StateName, str], None]
"""Records a state that was entered without a run context; see `Settlement.emit`."""

_PAUSE = 5.0  # seconds between two lines about runs that fail in the same way
_log = logging.getLogger("jtask.worker")


class Rejections:
    """Leave runs to other workers, or end them where a person can see it; on the I/O thread only.

    Args:
        worker: This worker's name.
        outcomes: Stores how they end.
        letters: Keeps the messages.
        envelopes: Reads messages.
        insist: Repeats writes.
        emit: Records how they go on.
    """

    def __init__(
        self,
        worker: str,
        outcomes: OutcomeStore,
        letters: Letters,
        envelopes: EnvelopeReader,
        insist: Insist,
        emit: Emit,
    ) -> None:
        self._worker = worker
        self._outcomes = outcomes
        self._letters = letters
        self._envelopes = envelopes
        self._insist = insist
        self._emit = emit
        self._hook = get_plugins().caller("jtask_rejected")
        self._failed = RateLimitedLog(_PAUSE)
        self._background = BackgroundTasks()

    @property
    def are_any(self) -> bool:
        """Whether the broker has not taken any yet."""
        return any(self._background)

    async def wait(self) -> None:
        """Return once the broker has taken all."""
        await self._background.wait()

    def accept(self, delivery: Delivery) -> Envelope | None:
        """Return the run that a message is, or set the message aside: the gate of a worker.

        Args:
            delivery: The message.

        Returns:
            Envelope | None: The run, of whose fields each is of its type and within its bounds;
            None when the message is none and ends among the dead letters.
        """
        try:
            if delivery.problem is not None:
                raise EnvelopeError(delivery.problem)
            return self._envelopes.read(delivery.body)
        except EnvelopeError as error:
            reason = f"the message cannot be read: {error}"
            unknown = _unknown_run(delivery)
            self._background.start(self.set_aside(delivery, unknown, StateName.FAILED, reason))
            return None

    def reschedule_unknown(self, delivery: Delivery, envelope: Envelope) -> None:
        """Leave a run for a worker that has its task; returns at once.

        Args:
            delivery: The run.
            envelope: What it says; its task is not served by this worker.
        """
        key, now = envelope.task_key, time.time()
        reason = f"no task with the key {key!r} is served here"
        self._emit(delivery.run_id, key, StateName.SCHEDULED, reason)
        self.notify_rejected(delivery, reason)
        # Worked out once: `Delivery` wants the same call repeated until it is answered.
        at = now + unknown_task_seconds(now - envelope.created)
        self._background.start(self._put_back(delivery, envelope, at, reason))

    def fail(self, delivery: Delivery, envelope: Envelope | None, error: BaseException) -> None:
        """End a run that jtask itself failed to handle, where a person sees it; returns at once.

        Args:
            delivery: The run.
            envelope: What it says; None when that is not known.
            error: What jtask failed with. It would be the same in every other worker.
        """
        envelope = envelope or _unknown_run(delivery)
        reason = describe_crash(error)
        if count := self._failed.count(reason):
            _log.error(
                "run %s is set aside: %s (%d since the last line)",
                delivery.run_id,
                reason,
                count,
                exc_info=error,
            )
        self._background.start(self.set_aside(delivery, envelope, StateName.CRASHED, reason))

    async def set_aside(
        self, delivery: Delivery, envelope: Envelope, state: StateName, reason: str
    ) -> None:
        """End a message that cannot be executed, where a person can see it.

        Args:
            delivery: The message.
            envelope: What it says, or as little as is known.
            state: How the run ends.
            reason: One sentence.
        """
        run_id, reason = delivery.run_id, cut(reason, LONGEST_REASON)
        end = State(state, time.time(), reason)
        settled = unstarted_record(run_id, envelope, end, self._worker)
        try:
            self._emit(run_id, envelope.task_key, state, reason)
            self.notify_rejected(delivery, reason)
            await self._try_to_store(OutcomeRecord(run_id, encode_outcome(settled)))
            letter = encode_dead_letter(reason, settled, delivery.body, delivery.priority)
            await self._letters.keep(delivery, envelope, DeadLetterBody(reason, letter))
        except Exception:
            # Delivered again it would fail again, here or in every other worker.
            _log.exception("run %s is dropped, for it cannot even be kept: %s", run_id, reason)
            delivery.ack()

    def notify_rejected(self, delivery: Delivery, reason: str) -> None:
        """Notify the plugins of a run that could not be executed here.

        Args:
            delivery: The run.
            reason: One sentence.
        """
        if self._hook is not None:
            run_id, queue = delivery.run_id, delivery.queue
            facts = {"run_id": run_id, "queue": queue, "reason": reason}
            self._hook.call_on_io(run_id, facts, f" from queue {queue!r}")

    async def _put_back(
        self, delivery: Delivery, envelope: Envelope, at: float, reason: str
    ) -> None:
        try:
            await self._insist(lambda: delivery.reschedule(at))
        except MessageRefused as error:
            await self.set_aside(delivery, envelope, StateName.FAILED, f"{reason}, and {error}")

    async def _try_to_store(self, record: OutcomeRecord) -> None:
        # The address names the run, so whoever waits for it gets an outcome.
        try:
            await self._outcomes.store(record)
        except Exception:
            # Its letter is still worth keeping.
            _log.exception("run %s is set aside without an outcome", record.run_id)


def _unknown_run(delivery: Delivery) -> Envelope:
    return Envelope(delivery.run_id, "", "", "json", b"", created=time.time())
