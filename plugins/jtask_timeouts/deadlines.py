"""One thread that does everything that is to happen at an instant, for all runs of a process."""

import heapq
import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from jtask.execution.one_per_process import OnePerProcess
from jtask.real_threads import require_real_threads

_LONGEST_WAIT = 3600.0  # seconds; a queue cannot wait for ever-so-long numbers
_SWEEP_AFTER = 1000  # additions
_SOON = 0.005  # seconds
_log = logging.getLogger("jtask")


class Step(NamedTuple):
    """Something to do.

    Attributes:
        at: When, by `time.monotonic`.
        action: What; must not block.
    """

    at: float
    action: Callable[[], None]


class TimedSteps:
    """What is to happen to one attempt, until it is over.

    Args:
        steps: What to do and when; those that are equally due happen in this order.
    """

    __slots__ = ("_steps", "over")

    def __init__(self, steps: list[Step]) -> None:
        # The next one last.
        self._steps = sorted(steps, key=lambda step: step.at)[::-1] if steps else steps
        self.over = False

    def next(self) -> Step | None:
        """Return the next step, if there is one."""
        steps = self._steps
        return steps[-1] if steps else None

    def take(self) -> Step | None:
        """Return the next step, and forget it."""
        steps = self._steps
        return steps.pop() if steps else None

    def end(self) -> None:
        """Do nothing more, and let go of what the steps refer to: a run, its arguments.

        The heap keeps this until its next step would have been due, which may be hours later.
        """
        self.over = True
        # Another list, not an emptied one: the thread of the deadlines may be looking at this.
        self._steps = []


class Deadlines:
    """The thread. It alone touches the heap: adding takes no lock of Python's own.

    A thread that is being interrupted adds and ends schedules, and an interruption between taking a
    lock and its `with` block would leave it locked for ever.
    """

    def __init__(self) -> None:
        # A greenlet would get its turn only when the run is over, whose limit it is to keep.
        require_real_threads()
        # Its `put` is one call into C, which an interruption cannot cut in two.
        self._added: queue.SimpleQueue[TimedSteps] = queue.SimpleQueue()
        self._heap: list[tuple[float, int, TimedSteps]] = []
        self._count = 0
        self._sweep_at = _SWEEP_AFTER
        self._thread = threading.Thread(target=self._run, name="jtask-deadlines", daemon=True)
        self._thread.start()

    def add(self, schedule: TimedSteps) -> None:
        """Follow a schedule from now on."""
        self._added.put(schedule)

    def call_soon(self, action: Callable[[], None]) -> None:
        """Call something in some milliseconds; also from a signal handler."""
        self.add(TimedSteps([Step(time.monotonic() + _SOON, action)]))

    def _run(self) -> None:
        while True:
            wait = self._heap[0][0] - time.monotonic() if self._heap else math.inf
            try:
                self._push(self._added.get(timeout=max(0.0, min(wait, _LONGEST_WAIT))))
            except queue.Empty:
                self._do_what_is_due()

    def _push(self, schedule: TimedSteps) -> None:
        if (step := schedule.next()) is None:
            return
        self._count += 1  # decides between equal instants: schedules cannot be compared
        heapq.heappush(self._heap, (step.at, self._count, schedule))
        if self._count >= self._sweep_at:
            self._heap = [entry for entry in self._heap if not entry[2].over]
            heapq.heapify(self._heap)
            self._sweep_at = self._count + max(_SWEEP_AFTER, len(self._heap))

    def _do_what_is_due(self) -> None:
        while self._heap and self._heap[0][0] <= time.monotonic():
            schedule = heapq.heappop(self._heap)[2]
            if (step := schedule.take()) is None:
                continue
            # One run's step that fails must not take the limits of all others away.
            try:
                step.action()
            except Exception:
                _log.exception("a timeout action failed")
            self._push(schedule)


_threads = OnePerProcess(Deadlines)


def get_deadlines() -> Deadlines:
    """Return this process's thread, started by the first use."""
    return _threads.get()
