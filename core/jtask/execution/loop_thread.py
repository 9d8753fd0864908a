"""An event loop in a daemon thread of its own, for other threads and loops to run coroutines on."""

import asyncio
import atexit
import concurrent.futures
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from jtask.errors import JTaskError
from jtask.signal_safety import SignalSafeLock, refuse_in_interrupted_thread

T = TypeVar("T")
L = TypeVar("L", bound="LoopThread")
_JOIN_SECONDS = 5.0  # a callback that blocks the loop must not keep the process from ending


class LoopThread:
    """The thread and its loop; started at once.

    Args:
        name: The thread's name.
    """

    title = "event loop"
    """What an error message calls it."""

    def __init__(self, name: str) -> None:
        self.loop = new_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether the caller is this thread."""
        return threading.current_thread() is self._thread

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Start a coroutine on the loop; from any thread.

        Args:
            coroutine: What to run.

        Returns:
            concurrent.futures.Future: Its result; cancelling it cancels the coroutine.

        Raises:
            RuntimeError: The process is ending.
        """
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError:  # the loop is closed: the process is ending
            coroutine.close()
            raise

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine on the loop and wait for it.

        Args:
            coroutine: What to run; cancelled when the wait ends early.
            timeout: Seconds; None waits for ever.

        Raises:
            RuntimeError: Called in the loop's own thread, which would wait for ever.
            JTaskError: Called in a signal handler that interrupted jtask at the wrong moment.
            TimeoutError: Not done in time.
        """
        if self.is_current:
            coroutine.close()
            raise RuntimeError(f"a blocking jtask call was made in jtask's own {self.title}")
        try:
            refuse_in_interrupted_thread()
        except JTaskError:
            coroutine.close()
            raise
        future = self.submit(coroutine)
        try:
            return future.result(timeout)
        except BaseException:
            # After Ctrl-C too: nobody waits for it any more.
            future.cancel()
            raise

    async def bridge(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and await it from any other loop.

        Args:
            coroutine: What to run; cancelled when the wait for it is.
        """
        if self.is_current:
            return await coroutine
        return await asyncio.wrap_future(self.submit(coroutine))

    def stop(self) -> None:
        """End the loop and the thread."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()


class OnePerProcess(Generic[L]):
    """A thread that each process starts when it first needs it.

    Args:
        make: Starts one.
    """

    def __init__(self, make: Callable[[], L]) -> None:
        self._make = make
        self._lock = SignalSafeLock(is_brief=False)
        self._one: L | None = None
        os.register_at_fork(after_in_child=self._forget)

    def get(self) -> L:
        """Return this process's thread."""
        with self._lock:
            if self._one is None:
                self._one = self._make()
                # A loop in C that still runs while the interpreter ends crashes the process.
                atexit.register(self._one.stop)
            return self._one

    def _forget(self) -> None:
        # The thread is gone in a forked child, and one that is gone too may have held the lock.
        self._lock = SignalSafeLock(is_brief=False)
        self._one = None


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop, uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
