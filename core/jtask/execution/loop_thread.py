"""An event loop in a daemon thread of its own, for other threads and loops to run coroutines on."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
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
            TimeoutError: Not done in time.
        """
        if self.is_current:
            coroutine.close()
            raise RuntimeError(f"a blocking jtask call was made in jtask's own {self.title}")
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


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop, uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
