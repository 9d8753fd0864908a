"""How many runs a worker holds: its slots, what waits for one, and how far to reach ahead."""

from collections import deque
from collections.abc import Callable, Collection

from jtask.execution.job import Job

_LARGEST_PREFETCH = 1000  # each is a lease to renew
_MOST_HELD_UP = 10_000  # each is a lease to renew as well, and a message in memory
_LOOKS = 5  # make the pace: what ended in a tenth of a second
_AHEAD_SHARE = 5  # of that: what ends in 20 ms; less, and the two threads wait for each other
_FARTHEST_AHEAD = 400  # they count as executing, though the runner has not begun them


class SlotPool:
    """Slots and the runs that wait for one; counting only, no I/O.

    Args:
        slots: How many runs may execute at once.
        prefetch: How many more may be held; None adapts it to the pace.
        reaches_ahead: Whether the runner gets more runs than there are slots while they end fast,
            so that it need not wait for the I/O thread after each; it must keep to the slots
            itself.

    Attributes:
        credit: How many deliveries the worker wants to hold.
        puts_off: Whether a slot is free, and what waits for one may not begin yet.
    """

    PACE_SECONDS = 0.02
    """Between two looks at how many runs have ended."""

    def __init__(self, slots: int, prefetch: int | None, *, reaches_ahead: bool = False) -> None:
        self._slots = slots
        self._reaches_ahead = reaches_ahead
        self._ahead = 0
        # Below 0 while the runner is given runs ahead, or after `start_now` or `end_loan`.
        self._free = slots
        self._lent = 0
        self._put_off = 0  # held on top of the credit, to come to what is waited for
        self._held_up = 0  # the same, while what has executed cannot leave its queue
        self._fixed = prefetch is not None
        self._prefetch = 1 if prefetch is None else prefetch  # 1: the pace is not known yet
        self._line = deque[Job]()  # of rank 0, which most have
        self._lines: dict[int, deque[Job]] = {0: self._line}
        """What waits, by its rank: the highest goes first. That of 0 stays, the others come and
        go."""
        self._ended = 0
        self._looks: deque[int] = deque(maxlen=_LOOKS)
        self._recount()

    def _recount(self) -> None:
        # Looked at for each run that comes and ends, and changed seldom.
        beside = self._put_off + min(self._held_up, _MOST_HELD_UP)
        self.credit = self._slots + self._lent + self._prefetch + beside
        self.puts_off = self._put_off > 0

    def add(self, job: Job, rank: int = 0) -> None:
        """Let a run wait for a slot, behind those of its rank that wait already.

        Args:
            job: The run; it is neither waiting nor executing.
            rank: Those of a higher one go first.
        """
        line = self._lines.get(rank)
        if line is None:
            line = self._lines[rank] = deque()
        line.append(job)

    def next_job(self, may_begin: Callable[[int], bool] | None = None) -> Job | None:
        """Take a slot for the next run.

        Args:
            may_begin: Tells of a rank whether a run of it may begin, asked while slots are lent:
                one that may not is put off, and so are those of lower ranks. None lets all.

        Returns:
            Job | None: The run, which does not wait any more; None when none waits, no slot is
            free, or the next one is put off.
        """
        lines = self._lines
        rank = 0 if len(lines) == 1 else max(lines)
        line = lines[rank]
        if self._put_off:
            self._put_off = 0
            self._recount()
        if not line:
            return None
        if self._lent and may_begin is not None and self._puts_off(rank, may_begin):
            return None
        if not self.take_slot():
            return None
        job = line.popleft()
        if rank:
            self._close(rank)
        return job

    def next_jobs(self, may_begin: Callable[[int], bool] | None = None) -> list[Job]:
        """Take slots for all runs that may begin now; see `next_job`."""
        jobs: list[Job] = []
        # Looked at first: this is asked for each run that comes or ends, and mostly no slot is
        # free, or nothing waits.
        if not self._line and len(self._lines) == 1 and not self._put_off:
            return jobs
        while self._free + self._ahead > 0 or self._put_off:
            if (job := self.next_job(may_begin)) is None:
                break
            jobs.append(job)
        return jobs

    def take_slot(self) -> bool:
        """Take a slot if one is free, or will be in a moment.

        Returns:
            bool: Whether it was taken; `free_slots` gives it back.
        """
        # While slots are lent, what is waited for goes before others; a runner knows no order.
        if self._free + (0 if self._lent else self._ahead) <= 0:
            return False
        self._free -= 1
        return True

    def _puts_off(self, rank: int, may_begin: Callable[[int], bool]) -> bool:
        if self._free <= 0 or may_begin(rank):
            return False
        self._put_off = len(self.waiting())
        self._recount()
        # Else what is waited for may be behind more than can be held.
        return self._put_off < _LARGEST_PREFETCH

    def free_slots(self, count: int = 1) -> None:
        """Give slots back: as many runs have ended or were released."""
        self._free += count
        self._ended += count

    def lend(self) -> None:
        """Let another run have the slot of one that waits for others."""
        self._free += 1
        self._lent += 1
        self._recount()

    def end_loan(self) -> None:
        """Count a run that goes on as one that has its slot, over their number if need be."""
        self._free -= 1
        self._lent -= 1
        self._recount()

    def note_held_up(self, change: int) -> None:
        """Let others come in the place of runs that have executed and cannot leave their queue.

        Args:
            change: How many more there are of them now, or fewer.
        """
        self._held_up += change
        self._recount()

    def move(self, run_ids: Collection[str], rank: int) -> None:
        """Give some of the runs that wait for a slot a higher rank.

        Args:
            run_ids: Which; others may be among them.
            rank: Those that have it already stay as they are, and so do those of a higher one.
        """
        for old in [old for old in self._lines if old < rank]:
            moved = [job for job in self._lines[old] if job.delivery.run_id in run_ids]
            for job in moved:
                self._lines[old].remove(job)
                self.add(job, rank)
            self._close(old)

    def start_now(self, job: Job) -> None:
        """Start a waiting run at once, over the number of slots if need be.

        Args:
            job: The run.

        Raises:
            ValueError: It does not wait.
        """
        for rank, line in self._lines.items():
            if job in line:
                line.remove(job)
                self._close(rank)
                self._free -= 1
                return
        raise ValueError(f"{job} does not wait")

    @property
    def is_any_waiting(self) -> bool:
        """Whether any run waits for a slot; from any thread."""
        return any(list(self._lines.values()))  # copied in one step

    def waiting(self) -> list[Job]:
        """Return what waits for a slot."""
        return [job for rank in sorted(self._lines, reverse=True) for job in self._lines[rank]]

    def take_all(self) -> list[Job]:
        """Return what waits, and let nothing wait any more."""
        waiting = self.waiting()
        self._line.clear()
        self._lines = {0: self._line}
        return waiting

    def _close(self, rank: int) -> None:
        if rank and not self._lines[rank]:
            del self._lines[rank]

    def adapt(self) -> bool:
        """Follow the pace of the last tenth of a second; called every PACE_SECONDS.

        Returns:
            bool: Whether any run has ended in that time; if none has, call it again after the next.
        """
        self._looks.append(self._ended)
        self._ended = 0
        ended = sum(self._looks)
        if self._reaches_ahead:
            self._ahead = min(ended // _AHEAD_SHARE, _FARTHEST_AHEAD)
        if not self._fixed:
            self._prefetch = max(1, min(ended, _LARGEST_PREFETCH))
            self._recount()
        return ended > 0
