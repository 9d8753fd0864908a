"""What every handle on a run can do, however the run is run."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, SupportsIndex, TypeVar, cast

from jtask.annotations import Handle, StandIns
from jtask.background import BackgroundTasks
from jtask.declaration.task_info import is_internal
from jtask.errors import JTaskError, ResultTimeout, RunDeadlock
from jtask.futures.silence import SILENT_SECONDS, may_ask
from jtask.futures.waking import Callback, block_until_over, until_over
from jtask.numbers import is_number
from jtask.outcomes import CANCEL_MESSAGE, CancelAnswer, SettledRun
from jtask.run_streams import Stream
from jtask.runtime import current_run
from jtask.runtime.blocking import blocked, blocked_async
from jtask.signal_safety import SignalSafeLock
from jtask.states import State
from jtask.wire.progress import Progress

R = TypeVar("R")
_log = logging.getLogger("jtask")
_INTERNAL = frozenset(
    {"check_blocking", "expect", "fail_waiters", "forget", "is_awaited", "notify", "when_over"}
    | {"tell_why", "tell_why_soon"}
)

_telling = BackgroundTasks()
# One lock for all handles: held for a few instructions only.
_callbacks_lock = SignalSafeLock()


class Future(Handle, Generic[R]):
    """A handle on one run: its id, where it stands, and its result once it is over.

    `jtask.runs.Run` is that of a run in the background, `SubmittedRun` that of one in this
    process. Handles of the same run are equal.

    Args:
        run_id: The run.
    """

    # A caller may hold a hundred thousand handles; who resolves them holds them weakly.
    __slots__ = ("__weakref__", "_callbacks", "_end", "run_id")

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        # How it was over, in the form in which that came here; None while it is not known.
        self._end: Any = None
        # No list for each: most of many handles are never asked.
        self._callbacks: tuple[Callback, ...] = ()
        # Not each time: to set what a class has makes the interpreter forget what it knows of it.
        if not StandIns.exist:
            StandIns.exist = True

    def __dir__(self) -> list[str]:
        # What a console completes: not what only jtask itself uses.
        return [name for name in super().__dir__() if not is_internal(name, _INTERNAL)]

    if not TYPE_CHECKING:  # or every attribute would be known to type checkers

        def __getattr__(self, name: str) -> Any:
            from jtask.other_libraries import ON_RUNS, no_attribute

            if (error := no_attribute("the handle of a run", name, ON_RUNS)) is not None:
                raise error
            return object.__getattribute__(self, name)  # raises what Python says

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Future) and self.run_id == other.run_id  # pyright: ignore[reportUnknownMemberType]

    def __hash__(self) -> int:
        return hash(self.run_id)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"{self!r} belongs to this process, and cannot be pickled or copied: "
            "pass its run_id, and call get_run(run_id) there"
        )

    def __await__(self) -> Generator[Any, None, R]:
        return self.result_async().__await__()

    @property
    def task_run_id(self) -> str:
        """The run's id, under Prefect's name for it."""
        return self.run_id

    @property
    def as_value(self) -> R:
        """This handle, for type checkers the value that is put in its place.

        `add.submit(one.as_value, 2)` is `add.submit(one, 2)`, whose first argument is no number.
        """
        return cast("R", self)

    @property
    def state(self) -> State:
        """Where the run stands now.

        Of a final one, `state.result()` returns the run's value or raises its exception.
        """
        raise NotImplementedError

    async def state_async(self) -> State:
        """Do what `state` does without blocking the event loop."""
        raise NotImplementedError

    @property
    def info(self) -> SettledRun | None:
        """Everything that is known about the run; None until it is known here to be over."""
        raise NotImplementedError

    @property
    def attempt(self) -> int | None:
        """Which attempt settled the run; None until it is known to be over."""
        return None if (info := self.info) is None else info.attempt

    @property
    def start_time(self) -> float | None:
        """When its first attempt began, seconds since the epoch; None until it is over."""
        return None if (info := self.info) is None else info.started

    @property
    def end_time(self) -> float | None:
        """When it was over, seconds since the epoch; None until then."""
        return None if (info := self.info) is None else info.ended

    @property
    def total_run_time(self) -> float | None:
        """Seconds it executed, waits between attempts left out; None until it is over."""
        return None if (info := self.info) is None else info.run_time

    @property
    def worker(self) -> str | None:
        """Who executed it; None until it is over."""
        return None if (info := self.info) is None else info.worker

    def done(self) -> bool:
        """Tell whether the run is known here to be over; asks nobody."""
        return self._end is not None

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the run is over, whatever its end.

        A run that waits in a task runner of limited size gives its place there to others meanwhile.

        Args:
            timeout: Seconds; None waits for ever.

        Returns:
            bool: Whether it is over.

        Raises:
            RunNotFound: There is no such run; `ResultExpired` when it may have been over for long.
            BrokerError: The broker refuses to tell, for lack of permission, say.
            RunDeadlock: The run waits for the one that calls this.
        """
        if self._end is not None:
            return True
        check_timeout(timeout)
        self.check_blocking(is_endless=timeout is None)
        deadline = None if timeout is None else time.monotonic() + timeout
        with blocked((self.run_id,), is_endless=timeout is None):
            # Who has callbacks is told of its end by the I/O thread, and so is everybody else.
            if not self.is_awaited:
                self._fetch_end(timeout)
            return self._end is not None or block_until_over(self, deadline)

    async def wait_async(self, timeout: float | None = None) -> bool:
        """Do what `wait` does without blocking the event loop."""
        if self._end is not None:
            return True
        check_timeout(timeout)
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        async with blocked_async((self.run_id,), is_endless=timeout is None):
            # As in `wait`.
            if not self.is_awaited:
                await self._fetch_end_async(timeout)
            return self._end is not None or await until_over(self, deadline)

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
            RunDeadlock: The run waits for the one that calls this.
            Exception: What the task raised, of a run elsewhere with the remote traceback as its
                cause; a `RunFailed` when it ended without an exception or with one that cannot be
                rebuilt here.
        """
        if not self.wait(timeout):
            raise self._too_late(timeout, self._explanation())
        return self._value(raise_on_failure)

    async def result_async(
        self,
        timeout: float | None = None,
        raise_on_failure: bool = True,
    ) -> R:
        """Do what `result` does without blocking the event loop; `await run` is the short form."""
        if not await self.wait_async(timeout):
            raise self._too_late(timeout, await self._explanation_async())
        return await self._value_async(raise_on_failure)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the run's end and return what `result` would raise; None if it has a value."""
        if not self.wait(timeout):
            raise self._too_late(timeout, self._explanation())
        return self._error()

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
        raise NotImplementedError

    async def cancel_async(self, message: str = CANCEL_MESSAGE) -> CancelAnswer:
        """Do what `cancel` does without blocking the event loop."""
        raise NotImplementedError

    def stream(self, start: int = 0) -> Stream[R]:
        """Return the items of a generator as they come: for `for`, or for `async for`.

        Args:
            start: How many items to leave out: those that were read before.

        Raises:
            JTaskError: The run is not in the background.
        """
        raise self._not_in_background(f"stream from item {start} on")

    def progress(self) -> Progress | None:
        """Return the latest that the run has said of its progress; None if it has said nothing.

        Raises:
            JTaskError: The run is not in the background.
        """
        raise self._not_in_background("progress")

    async def progress_async(self) -> Progress | None:
        """Do what `progress` does without blocking the event loop."""
        raise self._not_in_background("progress")

    def _not_in_background(self, what: str) -> JTaskError:
        return JTaskError(
            f"run {self.run_id} executes in this process, and has no {what}: "
            f"start it in the background with .delay(...)"
        )

    def add_done_callback(self, callback: "Callable[[Self], object]") -> None:
        """Call a function with this handle once the run is over; at once if it is.

        The call is made in the thread that learns of the end, for a run in the background jtask's
        I/O thread or one that waits for it: it must be quick and must not wait for runs. What it
        raises is logged.

        Raises:
            TypeError: It cannot be called.
        """
        if not callable(callback):
            raise TypeError(f"a done callback is a function that takes the run, got {callback!r}")

        def call(trouble: JTaskError | None = None) -> None:
            if trouble is not None:
                return
            try:
                callback(self)
            except Exception:
                _log.exception("a done callback of run %s failed", self.run_id)

        if self.when_over(call):
            self._hold()
        else:
            call()

    # --- for jtask itself --------------------------------------------------------------------

    @property
    def is_awaited(self) -> bool:
        """Whether anybody is to be told of the run's end."""
        return bool(self._callbacks)

    def check_blocking(self, *, is_endless: bool) -> None:
        """Check that this thread may block until the run is over.

        Args:
            is_endless: Whether it waits for however long it takes.

        Raises:
            RunDeadlock: The run needs what this thread executes.
        """
        if is_endless and (why := self._needs_this_loop()):
            raise RunDeadlock(f"deadlock: run {self.run_id} {why}")
        _warn_of_blocked_loop(self.run_id)

    def notify(self, callback: Callback) -> bool:
        """Call a function at the run's end; False, and no call, when that is past.

        Args:
            callback: See `when_over`. The handle has to be kept until then.
        """
        # The callback first, then the question: an end in between is not missed.
        if not self.when_over(callback):
            return False
        self.expect()
        return True

    def when_over(self, callback: Callback) -> bool:
        """Call a function at the run's end; False, and no call, when that is past.

        Without `expect` nobody may resolve the handle.

        Args:
            callback: Called once, in the thread that resolves the handle; by `fail_waiters` with
                the error. It must not block.
        """
        with _callbacks_lock:
            if self._end is None:
                self._callbacks = (*self._callbacks, callback)
            return self._end is None

    def expect(self) -> None:
        """See to it that the handle is resolved when its run ends; returns at once."""

    def forget(self, callback: Callback) -> None:
        """Undo `when_over`."""
        with _callbacks_lock:
            self._callbacks = tuple(known for known in self._callbacks if known != callback)

    def fail_waiters(self, error: JTaskError) -> None:
        """Wake who waits now with an error instead of the run's end."""
        with _callbacks_lock:
            callbacks, self._callbacks = self._callbacks, ()
        for callback in callbacks:
            callback(error)

    def tell_why(self) -> None:
        """Log why the run has not ended for `SILENT_SECONDS`, if that is a reason to act."""
        if may_ask():
            self._log_why(self._explanation())

    def tell_why_soon(self) -> None:
        """Do what `tell_why` does on the event loop that runs; returns at once."""
        if may_ask():
            _telling.start(self._tell_why_async())

    def _settle(self, end: Any) -> None:
        """Take the run's end; the first one counts."""
        with _callbacks_lock:
            if self._end is not None:
                return
            self._end = end
            callbacks, self._callbacks = self._callbacks, ()
        # Without the lock: a callback may use the handle.
        for callback in callbacks:
            callback(None)

    def _hold(self) -> None:
        """Do what `expect` does, and keep the handle alive until then."""
        self.expect()

    def _value(self, raise_on_failure: bool) -> R:
        raise NotImplementedError

    async def _value_async(self, raise_on_failure: bool) -> R:
        return self._value(raise_on_failure)

    def _error(self) -> BaseException | None:
        raise NotImplementedError

    def _needs_this_loop(self) -> str:
        """Return that the run cannot go on while this thread blocks; else an empty text."""
        return ""

    def _explanation(self) -> str:
        """Return why the run has not ended, if that is a reason to act; else an empty text."""
        return ""

    async def _explanation_async(self) -> str:
        return ""

    def _fetch_end(self, timeout: float | None) -> None:
        """Wait for a moment in this very thread, where that is quicker than to be woken."""

    async def _fetch_end_async(self, timeout: float | None) -> None:
        """Do what `_fetch_end` does without blocking the event loop."""

    async def _tell_why_async(self) -> None:
        self._log_why(await self._explanation_async())

    def _log_why(self, why: str) -> None:
        if why:
            _log.warning("run %s has not ended after %g s: %s", self.run_id, SILENT_SECONDS, why)

    def _too_late(self, timeout: float | None, why: str) -> ResultTimeout:
        reason = f": {why}" if why else ""
        return ResultTimeout(f"run {self.run_id} did not end within {timeout} seconds{reason}")


def check_timeout(timeout: object) -> None:
    """Check how long somebody wants to wait.

    Raises:
        TypeError: It is neither None nor a number.
    """
    if timeout is not None and not is_number(timeout):
        raise TypeError(f"a timeout is a number of seconds, or None to wait for ever: {timeout!r}")


def _warn_of_blocked_loop(run_id: str) -> None:
    """Warn a task that it blocks the loop it is on, and maybe the very run that it waits for."""
    waiting = current_run()
    # Not get_running_loop, which raises: every wait comes this way, and mostly there is none.
    if waiting is None or asyncio._get_running_loop() is None:
        return
    way_out = (
        "use `await run` instead of run.result() or run.wait()"
        if waiting.task.is_async
        else "call it by asyncio.to_thread, or make it asynchronous"
    )
    _log.warning(
        "task %s blocks its event loop, and all asynchronous tasks on it, while it waits for run "
        "%s: %s",
        waiting.task_name,
        run_id,
        way_out,
    )


def _renew_lock_after_fork() -> None:
    global _callbacks_lock
    # Another thread of the parent may have held the old one, and does not exist here.
    _callbacks_lock = SignalSafeLock()


os.register_at_fork(after_in_child=_renew_lock_after_fork)
