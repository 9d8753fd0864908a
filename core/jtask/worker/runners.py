"""Where a worker executes runs: an event loop of its own, or threads.

A runner may be given more jobs than it executes at once: when one ends, it begins the next without
asking the I/O thread, which alone submits and takes back. Whether a job has begun is decided by who
takes it out of `_waiting`: each method of a deque is one step.

Each job gets a fresh copy of the context variables that the worker began with.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, TypeVar

from jtask.background import BackgroundTasks
from jtask.errors import JTaskError
from jtask.execution.contexts import FreshContexts
from jtask.execution.job import Job
from jtask.execution.loop_thread import close_loop, new_loop, run_until
from jtask.execution.sync_await import run_sync
from jtask.lifecycle import describe
from jtask.runtime.loop_blocks import end_deadlock, unwatch_loop, watch_loop

T = TypeVar("T")
Perform = Callable[[Job], Coroutine[Any, Any, None]]
_JOIN_SECONDS = 1.0  # a stopping worker waits so long for its loop, no longer
_TITLE = "event loop of the tasks"
_log = logging.getLogger("jtask.worker")


class _Wake(Enum):
    WORK = "one more job waits"
    END = "one thread shall end"


class LoopRunner:
    """Execute asynchronous tasks on one loop in a thread of its own.

    A task that blocks this loop holds up its like, but neither the broker's I/O nor the leases.

    Args:
        perform: Executes one job and reports its end; must not raise.
        size: The largest number of jobs that execute at once.
        on_death: Called with the reason, in the loop's thread, should the loop end by itself.
        on_block: Called in the loop's thread as a task begins to block the loop for other runs.

    Attributes:
        death: Why the loop has ended by itself; None while it has not.
    """

    def __init__(
        self,
        perform: Perform,
        size: int,
        on_death: Callable[[str], object],
        on_block: Callable[[], object],
    ) -> None:
        self._perform = perform
        self._size = size
        self._on_death = on_death
        self._on_block = on_block
        self.death: str | None = None
        self._is_closing = False
        self._loop = new_loop()
        self._contexts = FreshContexts()
        self._waiting: deque[Job] = deque()
        self._running = 0  # those left behind not counted
        self._woken = False
        self._tasks: dict[Job, asyncio.Task[None]] = {}
        self._left_behind = BackgroundTasks()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, name="jtask-tasks", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Execute a job when a place is free; called on the I/O thread.

        Args:
            job: The run. One whose end is decided gets no place: it is settled at once.
        """
        if job.decision is not None:
            # Over `size`: only its hooks are called, and others may execute for hours.
            self._post(self._start, job)
            return
        # In this order: `_wake` clears the flag before it looks at what waits.
        self._waiting.append(job)
        if not self._woken:
            self._woken = True
            self._post(self._wake)

    def take_back(self, job: Job) -> bool:
        """Keep a job from starting.

        Returns:
            bool: False when it has started; `cancel` it then.
        """
        return _removed(self._waiting, job)

    def take_back_all(self) -> list[Job]:
        """Let nothing more start; return what has not."""
        return _emptied(self._waiting)

    def resize(self, by: int) -> None:
        """Execute more jobs at once, or fewer again; on the I/O thread. What executes goes on."""
        self._size += by
        if by > 0:
            self._post(self._start_waiting)

    def end_deadlock(self) -> None:
        """Wake a task that blocks this loop for a run which needs it; from any other thread."""
        # The whole at once: should the loop not be blocked any more, it changes both.
        held = (*tuple(self._waiting), *tuple(self._tasks))
        stuck = [job for job in held if not (job.is_over or job.is_abandoned)]
        end_deadlock(self._loop, (job.delivery.run_id for job in stuck))

    def cancel(self, job: Job) -> None:
        """Cancel one job if it is executing."""
        self._post(self._cancel, job)

    def replace(self, end: Coroutine[Any, Any, None]) -> None:
        """Report the end of a job whose coroutine does not end; called on this loop.

        Args:
            end: Reports it; must not raise.
        """
        self._left_behind.start(end, context=self._contexts.new())
        self._one_ended()

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine beside the jobs and await it from any other loop.

        Raises:
            JTaskError: The loop has ended.
        """
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise JTaskError(self.death or f"the {_TITLE} has ended") from None
        return await asyncio.wrap_future(future)

    def cancel_all(self) -> None:
        """Cancel what is executing."""
        self._post(self._cancel_all)

    async def close(self) -> None:
        """End the loop and wait a moment for its thread; nothing is submitted any more.

        A task that blocks the loop keeps the thread, a daemon, until it returns or the process
        ends.
        """
        self._is_closing = True
        self._post(self._loop.stop)
        # Awaited, not joined: this is the I/O thread, which other workers of the process share.
        await asyncio.wait([asyncio.wrap_future(self._ended)], timeout=_JOIN_SECONDS)
        if self._ended.done():
            self._thread.join()

    def _post(self, callback: Callable[..., object], *args: Job) -> None:
        # Closed when it has died, which ends the worker: its runs are handed back then.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *args)

    def _wake(self) -> None:
        self._woken = False
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self._running < self._size:
            # Asking first whether one waits would be a race: another thread takes jobs back.
            try:
                job = self._waiting.popleft()
            except IndexError:
                return
            self._start(job)

    def _start(self, job: Job) -> None:
        self._running += 1
        # Else it would be the context of the run that has just ended and begins this one.
        context = self._contexts.new()
        # Not by the loop, which would have the code of tasks decide how the next ones begin, and
        # think of a name for each.
        name = job.delivery.run_id
        executing = asyncio.Task(self._execute(job), loop=self._loop, name=name, context=context)
        self._tasks[job] = executing

    async def _execute(self, job: Job) -> None:
        try:
            await self._perform(job)
        finally:
            self._tasks.pop(job, None)
            # `replace` has counted one that was abandoned as ended already.
            if not job.is_abandoned:
                self._one_ended()

    def _one_ended(self) -> None:
        self._running -= 1
        self._start_waiting()

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
        watch_loop(self._loop, self._on_block)
        try:
            run_until(lambda: self._is_closing, self._loop, _TITLE)
            # What the loop stops in the middle of still gets its `finally`.
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        except BaseException as error:
            self.death = f"the {_TITLE} has ended: {describe(error)}"
            _log.critical(self.death, exc_info=error)
            self._on_death(self.death)
        finally:
            unwatch_loop(self._loop)
            close_loop(self._loop)
            self._ended.set_result(None)


class ThreadRunner:
    """Execute plain tasks in threads, started when they are needed.

    Args:
        perform: Executes one job and reports its end without ever suspending; must not raise.
        size: The largest number of threads that execute. More are there while jobs wait for other
            runs (`resize`), each of which keeps its thread.
    """

    def __init__(self, perform: Perform, size: int) -> None:
        self._perform = perform
        self._size = size
        self._extra = 0  # of that, the threads whose jobs wait for other runs
        self._contexts = FreshContexts()
        self._waiting: deque[Job] = deque()
        # One for each job, to be taken by any thread. A job that is taken back leaves its wake.
        self._wakes: queue.SimpleQueue[_Wake] = queue.SimpleQueue()
        self._decided: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._settles = False
        self._unfinished = 0
        self._threads = 0
        self._gone: list[threading.Thread] = []
        self._to_go = 0  # threads that `close` waits for
        self._all_gone: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._lock = threading.Lock()

    def submit(self, job: Job) -> None:
        """Execute a job when a thread is free; called on the I/O thread.

        Args:
            job: The run. One whose end is decided waits for no thread: it is settled at once.
        """
        if job.decision is not None:
            # In a thread of its own: all others may be busy for hours.
            self._decided.put(job)
            if not self._settles:
                self._settles = True
                self._start_thread("jtask-task-settling", self._settle)
            return
        with self._lock:
            self._unfinished += 1
            # No more threads than jobs: most workers never need all.
            start = self._threads < min(self._unfinished, self._size)
            self._threads += start
        self._waiting.append(job)
        self._wakes.put(_Wake.WORK)
        if start:
            self._start_worker(job)

    def _start_worker(self, job: Job | None = None) -> None:
        try:
            self._start_thread(f"jtask-task-{self._threads}", self._work)
        except RuntimeError:  # the machine gives no more threads
            with self._lock:
                self._threads -= 1
            # With another thread that does not wait there is somebody who comes to it.
            if self._threads <= self._extra and job is not None and self.take_back(job):
                raise

    def take_back(self, job: Job) -> bool:
        """Keep a job from starting.

        Returns:
            bool: False when it has started.
        """
        if not _removed(self._waiting, job):
            return False
        with self._lock:
            self._unfinished -= 1
        return True

    def take_back_all(self) -> list[Job]:
        """Let nothing more start; return what has not."""
        taken = _emptied(self._waiting)
        with self._lock:
            self._unfinished -= len(taken)
        return taken

    def resize(self, by: int) -> None:
        """Execute more jobs at once, or fewer again; on the I/O thread. What executes goes on."""
        with self._lock:
            self._size += by
            self._extra += by
            start = by > 0 and self._threads < min(self._unfinished, self._size)
            self._threads += start
        if start:
            self._start_worker()

    def replace(self, end: Coroutine[Any, Any, None]) -> None:
        """Put another thread in the place of one that stays busy; from any thread.

        The old one ends after its job, which is marked as left behind.

        Args:
            end: Reports the job's end, without ever suspending; must not raise.
        """
        self._start_thread("jtask-task-substitute", self._take_over, end)

    async def close(self, left_behind: int) -> None:
        """Let the threads end, a busy one after its job; nothing is submitted any more.

        Args:
            left_behind: How many threads may be busy for hours; a moment is waited for the others,
                since they hold what the worker holds, its tasks among that.
        """
        with self._lock:
            threads = self._threads
            self._to_go = threads - left_behind
        for _ in range(threads):
            self._wakes.put(_Wake.END)
        self._decided.put(None)
        if self._to_go > 0:
            # Awaited, not joined: see `LoopRunner.close`.
            await asyncio.wait([asyncio.wrap_future(self._all_gone)], timeout=_JOIN_SECONDS)
        for thread in list(self._gone):
            thread.join()

    def _start_thread(self, name: str, target: Callable[..., object], *args: object) -> None:
        # Daemons: a task that never returns must not keep the process from ending.
        threading.Thread(target=target, args=args, name=name, daemon=True).start()

    def _work(self) -> None:
        while self._wakes.get() is _Wake.WORK:
            if self._is_surplus():
                self._wakes.put(_Wake.WORK)  # for another thread
                return
            try:
                job = self._waiting.popleft()
            except IndexError:
                continue  # it was taken back
            self._execute(self._perform(job))
            # Its substitute has its place: `_threads` counts one of the two.
            if job.is_abandoned:
                return
            del job  # the thread would keep it until its next one
            with self._lock:
                self._unfinished -= 1
            if self._is_surplus():
                return
        self._go()

    def _go(self) -> None:
        with self._lock:
            self._gone.append(threading.current_thread())
            if len(self._gone) == self._to_go:
                self._all_gone.set_result(None)

    def _is_surplus(self) -> bool:
        """Tell whether this thread has to end: jobs that have waited go on in their own."""
        if self._threads <= self._size:
            return False
        with self._lock:
            is_one = self._threads > self._size
            self._threads -= is_one
            return is_one

    def _settle(self) -> None:
        while (job := self._decided.get()) is not None:
            self._execute(self._perform(job))

    def _execute(self, performing: Coroutine[Any, Any, None]) -> None:
        # Whatever it is that should not have come here, it must not take the thread away from all
        # the runs that follow.
        try:
            self._contexts.new().run(run_sync, performing)
        except BaseException:
            _log.exception("an execution in a thread has failed inside jtask")

    def _take_over(self, end: Coroutine[Any, Any, None]) -> None:
        self._execute(end)
        with self._lock:
            self._unfinished -= 1
        self._work()


def _removed(waiting: deque[Job], job: Job) -> bool:
    try:
        waiting.remove(job)
    except ValueError:
        return False
    return True


def _emptied(waiting: deque[Job]) -> list[Job]:
    taken: list[Job] = []
    with contextlib.suppress(IndexError):
        while True:
            taken.append(waiting.popleft())
    return taken
