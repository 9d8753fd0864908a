"""What waits for its turn in a worker, and what begins next."""

import asyncio
from collections.abc import Callable, Collection, Sequence

from jtask.execution.job import Job
from jtask.worker.loans import WOKEN_RANK, Loans
from jtask.worker.slots import SlotPool
from jtask.worker.suspects import Suspects

_PATIENCE_SECONDS = 0.1


class Lineup:
    """Let runs begin as slots become free; on the I/O thread only.

    Args:
        slots: The worker's slots, and what waits for one.
        suspects: What waits for its turn among the suspects.
        loans: The slots of runs that wait for other runs.
        begin: Called with each run whose turn it is; it has a slot then.
        set_credit: Called when the worker wants to hold another number of runs.
    """

    def __init__(
        self,
        slots: SlotPool,
        suspects: Suspects,
        loans: Loans,
        begin: Callable[[Job], None],
        set_credit: Callable[[int], None],
    ) -> None:
        self._slots = slots
        self._suspects = suspects
        self._loans = loans
        self._begin = begin
        self._set_credit = set_credit
        self._credit = slots.credit
        self._pace: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._moves = 0  # how many have begun or ended
        self._is_closed = False

    @property
    def credit(self) -> int:
        """How many deliveries the worker wants to hold."""
        return self._slots.credit

    @property
    def is_any_waiting(self) -> bool:
        """Whether a run waits for a slot; from any thread."""
        return self._slots.is_any_waiting

    def add(self, job: Job) -> None:
        """Let a run begin as soon as it is its turn."""
        delivery = job.delivery
        if not delivery.lost_workers or not self._suspects.add(job):
            # One that was woken with what it waited for goes first: it holds that for others.
            rank = delivery.priority if delivery.token is None else WOKEN_RANK
            if self._loans.are_any:
                rank = self._loans.rank_of(job) or rank
            self._slots.add(job, rank)
        self._dispatch()

    def begin_now(self, job: Job) -> None:
        """Let a run begin at once, over the number of slots if need be, whether it waits or not."""
        if job not in self._slots.waiting():
            self._suspects.remove(job)
            self._slots.add(job)
        self._slots.start_now(job)
        self._begin(job)

    def ended(self, jobs: Sequence[Job]) -> None:
        """Give the slots of runs that have ended, or were released, to the next."""
        self._moves += len(jobs)
        if self._loans.are_any:
            for job in jobs:
                self._loans.end(job)
        self._slots.free_slots(len(jobs))
        if self._suspects.are_any:
            for job in jobs:
                self._suspects.ended(job)
        if not self._is_closed:
            if self._pace is None:
                self._look_at_pace_soon()
            self._dispatch()

    def note_wait(self, job: Job, change: int, run_ids: Collection[str]) -> None:
        """Take note that a run which executes begins to wait for other runs, or goes on."""
        self._loans.note(job, change, run_ids)
        if not self._is_closed:
            self._dispatch()

    def note_held_up(self, change: int) -> None:
        """Take note that as many more, or fewer, have executed and cannot leave their queue."""
        self._slots.note_held_up(change)
        self._tell_credit()

    def waiting(self) -> list[Job]:
        """Return what waits for its turn."""
        return [*self._slots.waiting(), *self._suspects.waiting()]

    def close(self) -> None:
        """Let nothing begin any more by itself."""
        self._is_closed = True
        for timer in (self._pace, self._patience):
            if timer is not None:
                timer.cancel()  # it would hold a worker that is over, and all of its tasks

    def take_all(self) -> list[Job]:
        """Return what waits, and let nothing wait any more."""
        return [*self._slots.take_all(), *self._suspects.take_all()]

    def _dispatch(self) -> None:
        slots = self._slots
        if self._suspects.are_any:
            # One that waits has counted no start yet (`StartChecks`), so it is not charged when the
            # one that executes kills this worker.
            while self._suspects.is_one_next() and slots.take_slot():
                self._begin(self._suspects.next_job())
        may_begin = self._loans.may_begin if self._loans.are_any else None
        for job in slots.next_jobs(may_begin):
            self._moves += 1
            self._begin(job)
        if slots.puts_off and self._patience is None:
            self._wait_patiently()
        if slots.credit != self._credit:
            self._tell_credit()

    def _wait_patiently(self) -> None:
        # Longer and longer: where what is waited for takes hours elsewhere, each that begins may
        # wait for hours as well.
        seconds = _PATIENCE_SECONDS * max(1.0, self._loans.pressure) ** 2
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(seconds, self._be_patient, self._moves)

    def _be_patient(self, moves: int) -> None:
        """Let one begin that is put off if nothing has begun or ended for a while.

        What is waited for here may itself wait for it, in another worker.
        """
        self._patience = None
        if self._is_closed:
            return
        if moves == self._moves and self._slots.puts_off and (job := self._slots.next_job()):
            self._moves += 1
            self._begin(job)
        self._dispatch()

    def _tell_credit(self) -> None:
        if (credit := self._slots.credit) != self._credit:
            self._credit = credit
            self._set_credit(credit)

    def _follow_pace(self) -> None:
        """Adapt the credit while runs end; an idle worker has no timer for it."""
        self._pace = None
        if self._slots.adapt() and not self._is_closed:
            self._look_at_pace_soon()
        self._tell_credit()

    def _look_at_pace_soon(self) -> None:
        loop = asyncio.get_running_loop()
        self._pace = loop.call_later(SlotPool.PACE_SECONDS, self._follow_pace)
