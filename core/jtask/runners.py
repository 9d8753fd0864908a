"""Where a worker executes runs: an event loop of its own, or threads."""

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from jtask.engine import drive
from jtask.execution import Job
from jtask.io_thread import new_loop

Perform = Callable[[Job], Coroutine[Any, Any, None]]
_JOIN_SECONDS = 1.0


class LoopRunner:
    """Execute asynchronous tasks on one loop in a thread of its own.

    A task that blocks this loop holds up its like, but neither the broker's I/O nor the leases.

    Args:
        perform: Executes one job and reports its end; must not raise.
    """

    def __init__(self, perform: Perform) -> None:
        self._perform = perform
        self._loop = new_loop()
        self._waiting: deque[Job] = deque()
        self._woken = False
        self._tasks: dict[Job, asyncio.Task[None]] = {}
        self._left_behind: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="jtask-tasks", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Execute a job; called on the I/O thread."""
        self._waiting.append(job)
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._start_waiting)

    def cancel(self, job: Job) -> None:
        """Cancel one job if it is executing."""
        self._loop.call_soon_threadsafe(self._cancel, job)

    def replace(self, end: Coroutine[Any, Any, None]) -> None:
        """Report the end of a job whose coroutine goes on; called on this loop."""
        self._left_behind.add(ended := self._loop.create_task(end))
        ended.add_done_callback(self._left_behind.discard)

    def cancel_all(self) -> None:
        """Cancel what is executing."""
        self._loop.call_soon_threadsafe(self._cancel_all)

    async def close(self) -> None:
        """End the loop and wait a moment for its thread; nothing is submitted any more.

        A task that blocks the loop keeps the thread, a daemon, until it returns or the process
        ends.
        """
        self._loop.call_soon_threadsafe(self._loop.stop)
        # Not here: this is the I/O thread, which other workers of the process share.
        await asyncio.to_thread(self._thread.join, _JOIN_SECONDS)

    def _start_waiting(self) -> None:
        self._woken = False
        for _ in range(len(self._waiting)):
            job = self._waiting.popleft()
            self._tasks[job] = self._loop.create_task(self._execute(job))

    async def _execute(self, job: Job) -> None:
        try:
            await self._perform(job)
        finally:
            self._tasks.pop(job, None)

    def _cancel(self, job: Job) -> None:
        if (task := self._tasks.get(job)) is not None:
            # One turn later: a task that is cancelled before its first step never reports its end.
            self._loop.call_soon(self._interrupt, job, task)

    def _interrupt(self, job: Job, task: "asyncio.Task[None]") -> None:
        if not job.is_over:
            task.cancel()

    def _cancel_all(self) -> None:
        for task in list(self._tasks.values()):
            task.cancel()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


class ThreadRunner:
    """Execute plain tasks in threads, started when they are needed.

    Args:
        perform: Executes one job and reports its end without ever suspending; must not raise.
        size: The largest number of threads that execute.
    """

    def __init__(self, perform: Perform, size: int) -> None:
        self._perform = perform
        self._size = size
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._unfinished = 0
        self._threads = 0
        self._lock = threading.Lock()

    def submit(self, job: Job) -> None:
        """Execute a job; called on the I/O thread."""
        # A run that only has to be settled must not wait for one that executes: one thread more.
        size = self._size if job.verdict is None else self._size + 1
        with self._lock:
            self._unfinished += 1
            start = self._threads < min(self._unfinished, size)
            self._threads += start
        self._jobs.put(job)
        if start:
            threading.Thread(
                target=self._work, name=f"jtask-task-{self._threads}", daemon=True
            ).start()

    def replace(self, end: Coroutine[Any, Any, None]) -> None:
        """Put another thread in the place of one that stays busy; from any thread.

        The old one ends after its job, which is marked as left behind.

        Args:
            end: Reports the job's end, without ever suspending; must not raise.
        """
        threading.Thread(
            target=self._take_over, args=(end,), name="jtask-task-substitute", daemon=True
        ).start()

    def close(self) -> None:
        """Let the threads end, a busy one after its job; nothing is submitted any more."""
        with self._lock:
            threads = self._threads
        for _ in range(threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            drive(self._perform(job))
            if job.left_behind:
                return
            with self._lock:
                self._unfinished -= 1

    def _take_over(self, end: Coroutine[Any, Any, None]) -> None:
        drive(end)
        with self._lock:
            self._unfinished -= 1
        self._work()
