"""One daemon thread with an event loop that carries all of a process's broker I/O.

The user's loops and threads never do, so a task that blocks its own loop does not delay a lease.
"""

import asyncio
import atexit
import concurrent.futures
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_log = logging.getLogger("jtask")


class IoThread:
    """The thread and its loop; started by the first use."""

    def __init__(self, name: str = "jtask-io") -> None:
        self.loop = new_loop()
        self._posted: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._woken = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether the caller is this thread."""
        return threading.current_thread() is self._thread

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Start a coroutine on the loop and return its future."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine on the loop and wait for it.

        Args:
            coroutine: What to run; cancelled when the wait ends early.
            timeout: Seconds; None waits for ever.

        Raises:
            RuntimeError: Called in the I/O thread itself, which would wait for ever.
            TimeoutError: Not done in time.
        """
        if self.is_current:
            coroutine.close()
            raise RuntimeError("a blocking jtask call was made in jtask's own I/O thread")
        future = self.submit(coroutine)
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise

    async def bridge(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and await it from any other loop."""
        if self.is_current:
            return await coroutine
        return await asyncio.wrap_future(self.submit(coroutine))

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the loop soon, in order; many calls share one wake-up."""
        self._posted.append((function, args))
        if not self._woken:
            self._woken = True
            try:
                self.loop.call_soon_threadsafe(self._call_posted)
            except RuntimeError:
                if not self.loop.is_closed():
                    raise
                # The process is ending: nobody is left to hear of it.

    def stop(self) -> None:
        """End the loop and the thread."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(timeout=5)

    def _call_posted(self) -> None:
        # Cleared first: what is posted from here on wakes the loop again, so nothing is left over.
        self._woken = False
        posted = self._posted
        for _ in range(len(posted)):
            function, args = posted.popleft()
            try:
                function(*args)
            except Exception:
                _log.exception("a call on the I/O thread failed")

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop, uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


_lock = threading.Lock()
_current: IoThread | None = None


def get_io_thread() -> IoThread:
    """Return this process's I/O thread."""
    global _current
    with _lock:
        if _current is None:
            _current = IoThread()
            # A loop in C that still runs while the interpreter ends crashes the process.
            atexit.register(_current.stop)
        return _current


def _forget_after_fork() -> None:
    global _current, _lock
    _lock = threading.Lock()
    _current = None


os.register_at_fork(after_in_child=_forget_after_fork)
