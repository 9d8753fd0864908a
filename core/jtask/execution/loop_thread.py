"""An event loop in a daemon thread of its own, for other threads and loops to run coroutines on."""

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from jtask.errors import JTaskError
from jtask.real_threads import require_real_threads
from jtask.signal_safety import refuse_in_interrupted_thread, result_of

T = TypeVar("T")
_JOIN_SECONDS = 5.0  # a callback that blocks the loop must not keep the process from ending
_CANCEL_SECONDS = 1.0  # nor a coroutine that does not let itself be cancelled
_log = logging.getLogger("jtask")


class LoopThread:
    """The thread and its loop; started at once.

    Args:
        name: The thread's name.

    Raises:
        ConfigurationError: gevent or eventlet has replaced the threads of this process.

    Attributes:
        death: Why the loop has ended by itself, in one sentence; None while it has not.
    """

    title = "event loop"
    """What an error message calls it."""

    def __init__(self, name: str) -> None:
        require_real_threads()
        self.loop = new_loop()
        self._is_ending = False
        self.death: str | None = None
        self._on_death: set[Callable[[str], object]] = set()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether the caller is this thread."""
        return threading.current_thread() is self._thread

    def on_death(self, callback: Callable[[str], object]) -> None:
        """Call a function should the loop end by itself, which nothing but a defect can do.

        Args:
            callback: Takes the reason, one sentence; called in this thread.
        """
        self._on_death.add(callback)

    def forget_death(self, callback: Callable[[str], object]) -> None:
        """Undo `on_death`."""
        self._on_death.discard(callback)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Start a coroutine on the loop; from any thread.

        Args:
            coroutine: What to run.

        Returns:
            concurrent.futures.Future: Its result; cancelling it cancels the coroutine.

        Raises:
            JTaskError: The loop has ended by itself.
            RuntimeError: The process is ending.
        """
        if self.death is not None:
            coroutine.close()
            raise JTaskError(self.death)
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
            JTaskError: The loop has ended by itself, or this is a signal handler that interrupted
                jtask at the wrong moment.
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
            return result_of(future, timeout)
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
        self._is_ending = True
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            run_until(lambda: self._is_ending, self.loop, self.title)
        except BaseException as error:
            self.death = f"jtask's {self.title} has ended: {type(error).__name__}: {error}"
            _log.critical(self.death, exc_info=error)
        finally:
            close_loop(self.loop)
        if self.death is not None:
            for callback in tuple(self._on_death):
                callback(self.death)


def run_until(is_ending: Callable[[], bool], loop: asyncio.AbstractEventLoop, title: str) -> None:
    """Run a loop in this thread until it is stopped by whoever owns it.

    A callback or a child task that lets SystemExit or KeyboardInterrupt out ends the `run_forever`
    of its loop, and with it everybody else's work there. Whoever awaits the child gets the
    exception all the same.

    Args:
        is_ending: Tells whether the owner has stopped the loop; anybody on it can call its `stop`.
        loop: The loop.
        title: What a log line calls it.
    """
    while not is_ending():
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            _log.error(
                "%s got out of a child task or a callback: jtask's %s goes on",
                type(error).__name__,
                title,
                exc_info=error,
            )


def close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what a loop was executing, and close it, also if it is broken."""
    try:
        # Or Python complains of each task when the loop is gone.
        if tasks := asyncio.all_tasks(loop):
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks, timeout=_CANCEL_SECONDS))
    except BaseException as error:  # one of them has let SystemExit out, or the loop is broken
        _log.debug("an event loop could not be cleared: %s", error)
    try:
        loop.close()
    except Exception:
        _log.debug("an event loop could not be closed", exc_info=True)


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop, uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
