"""The caller's handle on a run."""

import asyncio
import concurrent.futures
import functools
import logging
import os
import time
import weakref
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar, cast

from jtask.declaration.task_info import TaskInfo, is_internal
from jtask.errors import JTaskError, ResultMissing, ResultTimeout
from jtask.outcomes import CANCEL_MESSAGE, CancelAnswer, SettledRun
from jtask.run_streams import Stream, StreamSource
from jtask.runtime import current_run
from jtask.serialization.codecs import codecs_of
from jtask.serialization.results import read_untyped
from jtask.signal_safety import SignalSafeLock
from jtask.states import State
from jtask.wire.envelope import decode_outcome
from jtask.wire.failures import error_of
from jtask.wire.progress import Progress

R = TypeVar("R")
T = TypeVar("T")
Callback = Callable[["JTaskError | None"], object]
"""Called when a run is over, or with the error that keeps its end from being known here."""
_log = logging.getLogger("jtask")
_INTERNAL = frozenset(
    {
        "fail_waiters",
        "follow",
        "is_stored",
        "resolve",
        "sibling",
        "when_over",
    }
)

# One lock for all handles: held for a few instructions only.
_callbacks_lock = SignalSafeLock()


class RunSource(StreamSource, Protocol):
    """Where handles get what they are asked for: this process's link to the broker.

    The coroutines run on the I/O loop, by `run` or `bridge`.
    """

    async def find_state(self, run: "Run[Any]") -> State:
        """Return where a run stands that is not known to be over."""
        ...

    async def explain_wait(self, run: "Run[Any]") -> str:
        """Return why a run has not ended, if that is a reason to act; else an empty text."""
        ...

    async def load_blob(self, record: SettledRun) -> bytes:
        """Return a result that is kept as a blob."""
        ...

    async def cancel(self, run_id: str, message: str) -> CancelAnswer:
        """End a run, wherever it is."""
        ...

    def expect(self, run: "Run[Any]") -> None:
        """Resolve a handle when its run ends; returns at once."""
        ...

    def hold(self, run: "Run[Any]") -> None:
        """Resolve a handle when its run ends, and keep the handle alive until then."""
        ...


class Run(Generic[R]):
    """One run: its id, where it stands, and its result once it is over.

    Returned by `.delay()`; `get_run(run_id)` makes one for a run of any process. Handles of the
    same run are equal.

    Args:
        run_id: The run.
        source: Where it is asked for.
        task: Its task, which says how the result is read; None reads plain JSON.
    """

    # A caller may hold a hundred thousand handles. The client holds them weakly: __weakref__.
    __slots__ = (
        "__weakref__",
        "_body",
        "_callbacks",
        "_leader",
        "_settled",
        "_source",
        "_task",
        "is_stored",
        "run_id",
    )

    def __init__(
        self, run_id: str, source: "RunSource", task: TaskInfo[..., R] | None = None
    ) -> None:
        self.run_id = run_id
        self._source = source
        self._task = task
        # As it came, and decoded when somebody asks for more than the end itself.
        self._body: bytes | None = None
        self._settled: SettledRun | None = None
        # No list for each: most of many handles are never asked.
        self._callbacks: tuple[Callback, ...] = ()
        self._leader: Run[Any] | None = None
        self.is_stored = False
        """Whether this process has stored the run, or is about to. For the client only."""

    def __repr__(self) -> str:
        name = self._task.name if self._task else "?"
        state = f" {self._record.state.name}" if self._body is not None else ""
        return f"<run {self.run_id} of {name!r}{state}>"

    def __dir__(self) -> list[str]:
        # What a console completes: not what only jtask itself uses.
        return [name for name in super().__dir__() if not is_internal(name, _INTERNAL)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.run_id == other.run_id  # pyright: ignore[reportUnknownMemberType]

    def __hash__(self) -> int:
        return hash(self.run_id)

    def __await__(self) -> Generator[Any, None, R]:
        return self.result_async().__await__()

    @property
    def task_run_id(self) -> str:
        """The run's id, under Prefect's name for it."""
        return self.run_id

    @property
    def state(self) -> State:
        """Where the run stands now; asks the broker until the run is over.

        A state that waits has `queue` and, for a time to come, `until` in its `details`. Of a
        final one, `state.result()` returns the run's value or raises its exception.

        Raises:
            RunNotFound: There is no such run; `ResultExpired` when it may have been over for long.
            BrokerError: The broker cannot be asked.
        """
        if self._body is None:
            return self._source.run(self._source.find_state(self))
        return self._final_state()

    async def state_async(self) -> State:
        """Do what `state` does without blocking the event loop."""
        if self._body is None:
            return await self._source.bridge(self._source.find_state(self))
        return self._final_state()

    @property
    def attempt(self) -> int | None:
        """Which attempt settled the run; None until it is known to be over."""
        return None if self._body is None else self._record.attempt

    @property
    def start_time(self) -> float | None:
        """When its first attempt began, seconds since the epoch; None until it is over."""
        return None if self._body is None else self._record.started

    @property
    def end_time(self) -> float | None:
        """When it was over, seconds since the epoch; None until then."""
        return None if self._body is None else self._record.ended

    @property
    def total_run_time(self) -> float | None:
        """Seconds it executed, waits between attempts left out; None until it is over."""
        return None if self._body is None else self._record.run_time

    @property
    def worker(self) -> str | None:
        """Who executed it; None until it is over."""
        return None if self._body is None else self._record.worker

    def done(self) -> bool:
        """Tell whether the run is known here to be over; asks nobody."""
        return self._body is not None

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the run is over, whatever its end.

        Args:
            timeout: Seconds; None waits for ever.

        Returns:
            bool: Whether it is over.

        Raises:
            RunNotFound: There is no such run; `ResultExpired` when it may have been over for long.
            BrokerError: The broker refuses to tell, for lack of permission, say.
        """
        if self._body is not None:
            return True
        _warn_of_blocked_loop(self.run_id)
        deadline = None if timeout is None else time.monotonic() + timeout
        over: concurrent.futures.Future[None] = concurrent.futures.Future()
        wake = functools.partial(_end_wait, over)
        # The callback first, then the question: an end in between is not missed.
        if not self.when_over(wake):
            return True
        self._source.expect(self)
        try:
            over.result(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            return self.done()
        finally:
            # Or a caller that polls with short timeouts would leave one each time.
            if not over.done():
                self._forget(wake)
        return True

    async def wait_async(self, timeout: float | None = None) -> bool:
        """Do what `wait` does without blocking the event loop."""
        if self._body is not None:
            return True
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        wake = functools.partial(_wake, loop, over)
        if not self.when_over(wake):
            return True
        self._source.expect(self)
        try:
            await asyncio.wait_for(over, timeout)
        except TimeoutError:
            return self.done()
        finally:
            if not over.done() or over.cancelled():
                self._forget(wake)
        return True

    def result(
        self,
        timeout: float | None = None,
        raise_on_failure: bool = True,
    ) -> R:
        """Wait for the run's value.

        Args:
            timeout: Seconds; None waits for ever.
            raise_on_failure: False returns the exception instead of raising it.

        Raises:
            ResultTimeout: The run was not over in time; says so when no worker serves its queue.
            RunNotFound: There is no such run.
            ResultExpired: The run ended so long ago that its outcome is no longer kept.
            Exception: What the task raised, with the remote traceback as its cause; a `RunFailed`
                when it ended without an exception or with one that cannot be rebuilt here.
        """
        if not self.wait(timeout):
            raise self._too_late(timeout, self._source.run(self._source.explain_wait(self)))
        return self._value(raise_on_failure)

    async def result_async(
        self,
        timeout: float | None = None,
        raise_on_failure: bool = True,
    ) -> R:
        """Do what `result` does without blocking the event loop; `await run` is the short form."""
        if not await self.wait_async(timeout):
            why = await self._source.bridge(self._source.explain_wait(self))
            raise self._too_late(timeout, why)
        record = self._record
        payload = record.payload
        if record.blob is not None:
            payload = await self._source.bridge(self._source.load_blob(record))
        return self._unpack(payload, raise_on_failure=raise_on_failure)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the run's end and return what `result` would raise; None if it has a value."""
        if not self.wait(timeout):
            raise self._too_late(timeout, self._source.run(self._source.explain_wait(self)))
        return error_of(self._record, self._task)

    def stream(self, start: int = 0) -> Stream[R]:
        """Return the items of a generator as they come: for `for`, or for `async for`.

        Args:
            start: How many items to leave out: those that were read before.
        """
        return Stream(self, self._source, self._task, start)

    def progress(self) -> Progress | None:
        """Return the latest that the run has said of its progress; None if it has said nothing."""
        return self._source.run(self._source.find_progress(self.run_id))

    async def progress_async(self) -> Progress | None:
        """Do what `progress` does without blocking the event loop."""
        return await self._source.bridge(self._source.find_progress(self.run_id))

    def cancel(self, message: str = CANCEL_MESSAGE) -> CancelAnswer:
        """End the run, wherever it is: it never starts, or is interrupted, or is asked to end.

        Args:
            message: Why, kept with its state.

        Returns:
            CancelAnswer: What came of it. A run that was interrupted or asked is not over yet:
            `wait` for it, then look at its `state`.

        Raises:
            BrokerError: The broker cannot be asked; the run may end all the same.
        """
        return self._source.run(self._source.cancel(self.run_id, message))

    async def cancel_async(self, message: str = CANCEL_MESSAGE) -> CancelAnswer:
        """Do what `cancel` does without blocking the event loop."""
        return await self._source.bridge(self._source.cancel(self.run_id, message))

    def add_done_callback(self, callback: "Callable[[Run[R]], object]") -> None:
        """Call a function with this handle once the run is over; at once if it is.

        The call is made in jtask's I/O thread: it must be quick and must not wait for runs. What
        it raises is logged.
        """

        def call(trouble: JTaskError | None = None) -> None:
            if trouble is not None:
                return
            try:
                callback(self)
            except Exception:
                _log.exception("a done callback of run %s failed", self.run_id)

        if self.when_over(call):
            self._source.hold(self)
        else:
            call()

    def when_over(self, callback: Callback) -> bool:
        """Call a function at the run's end; False, and no call, when that is past.

        For the client only: without `expect` nobody resolves the handle.

        Args:
            callback: Called once, in the thread that resolves the handle, usually the I/O thread;
                by `fail_waiters` with the error. It must not block.
        """
        with _callbacks_lock:
            if self._body is None:
                self._callbacks = (*self._callbacks, callback)
            return self._body is None

    def follow(self, leader: "Run[Any]") -> None:
        """Be settled along with another handle of the same run. For the client only."""
        if self._leader is leader:
            return
        self._leader = leader  # kept alive here, for the client holds its handles weakly
        # Weak the other way: a handle that nobody keeps must not live as long as its leader.
        take_over = weakref.WeakMethod(self._take_over)

        def pass_on(trouble: JTaskError | None = None) -> None:
            if (method := take_over()) is not None:
                method(trouble)

        if not leader.when_over(pass_on):
            pass_on()

    def sibling(self, run_id: str) -> "Run[R]":
        """Return a handle on another run of the same task. For the client only."""
        return Run(run_id, self._source, self._task)

    def _take_over(self, trouble: JTaskError | None = None) -> None:
        # What was followed has forgotten this handle: who waits again follows again.
        leader, self._leader = self._leader, None
        if trouble is not None:
            self.fail_waiters(trouble)
        elif leader is not None:
            self.resolve(cast("bytes", leader._body))

    def resolve(self, body: bytes) -> None:
        """Take the stored outcome; the first one counts. For the client only."""
        with _callbacks_lock:
            if self._body is not None:
                return
            self._body = body
            callbacks, self._callbacks = self._callbacks, ()
        # Without the lock: a callback may use the handle.
        for callback in callbacks:
            callback(None)

    def fail_waiters(self, error: JTaskError) -> None:
        """Wake who waits now with an error instead of the run's end. For the client only."""
        with _callbacks_lock:
            callbacks, self._callbacks = self._callbacks, ()
        for callback in callbacks:
            callback(error)

    @property
    def info(self) -> SettledRun | None:
        """Everything stored about the run; None until it is known here to be over."""
        return None if self._body is None else replace(self._record, state=self._final_state())

    def _final_state(self) -> State:
        # A copy: the stored one would hold this handle, and the handle holds it.
        return replace(self._record.state, load=self._value)

    def _value(self, raise_on_failure: bool) -> R:
        record = self._record
        blob = record.blob is not None
        payload = self._source.run(self._source.load_blob(record)) if blob else record.payload
        return self._unpack(payload, raise_on_failure=raise_on_failure)

    def _forget(self, callback: Callback) -> None:
        with _callbacks_lock:
            self._callbacks = tuple(known for known in self._callbacks if known != callback)

    @property
    def _record(self) -> SettledRun:
        if self._settled is None:
            self._settled = decode_outcome(cast("bytes", self._body))
        return self._settled

    def _unpack(self, payload: bytes, *, raise_on_failure: bool) -> R:
        record = self._record
        error = error_of(record, self._task)
        if error is None and not payload:
            # Of a direct call: what a worker stores has a payload, even for None.
            error = ResultMissing(f"run {self.run_id}: {record.state.message or 'no result'}")
        if error is None:
            return cast("R", self._decode(payload))
        if raise_on_failure:
            raise error
        return cast("R", error)

    def _decode(self, payload: bytes) -> Any:
        record = self._record
        if self._task is not None:
            codecs = codecs_of(self._task)
            # A pickle is read for a task that declares cloudpickle, and never because a message
            # says so.
            codecs.check(record.serializer)
            return codecs.result.decode(payload)
        if record.serializer != "json":
            raise JTaskError(
                f"run {self.run_id}: its result is encoded with {record.serializer!r}, "
                f"which can be read only with the task's own code: "
                f"use the handle that .delay() returned, or get_run(run_id, task)"
            )
        return read_untyped(payload, f"the result of run {self.run_id}")

    def _too_late(self, timeout: float | None, why: str) -> ResultTimeout:
        reason = f": {why}" if why else ""
        return ResultTimeout(f"run {self.run_id} did not end within {timeout} seconds{reason}")


def _warn_of_blocked_loop(run_id: str) -> None:
    """Warn a coroutine that it blocks its loop, and maybe the very run that it waits for."""
    waiting = current_run()
    # Not get_running_loop, which raises: every wait comes this way, and mostly there is none.
    if waiting is None or asyncio._get_running_loop() is None:
        return
    _log.warning(
        "task %s blocks its event loop, and all asynchronous tasks on it, while it waits for run "
        "%s: use `await run` instead of run.result() or run.wait()",
        waiting.task_name,
        run_id,
    )


def _end_wait(
    wait: "concurrent.futures.Future[None] | asyncio.Future[None]", trouble: JTaskError | None
) -> None:
    if wait.done():
        return
    if trouble is None:
        wait.set_result(None)
    else:
        wait.set_exception(trouble)


def _wake(
    loop: asyncio.AbstractEventLoop, wait: "asyncio.Future[None]", trouble: JTaskError | None
) -> None:
    try:
        loop.call_soon_threadsafe(_end_wait, wait, trouble)
    except RuntimeError:
        return  # the loop was closed while its run went on: nobody waits any more


def _renew_lock_after_fork() -> None:
    global _callbacks_lock
    # Another thread of the parent may have held the old one, and does not exist here.
    _callbacks_lock = SignalSafeLock()


os.register_at_fork(after_in_child=_renew_lock_after_fork)
