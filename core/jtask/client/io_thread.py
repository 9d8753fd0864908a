"""One daemon thread with an event loop that carries all of a process's broker I/O.

The user's loops and threads never do, so a task that blocks its own loop does not delay a lease.
"""

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from jtask.execution.loop_thread import LoopThread
from jtask.execution.one_per_process import OnePerProcess

_log = logging.getLogger("jtask")


class IoThread(LoopThread):
    """The thread and its loop; started by the first use, see `get_io_thread`.

    Args:
        name: The thread's name.
    """

    title = "I/O thread"

    def __init__(self, name: str = "jtask-io") -> None:
        self._posted: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._woken = False
        super().__init__(name)

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the loop soon, in order; many calls share one wake-up.

        From any thread. What the function raises is logged.

        Args:
            function: What to call; it must not block.
            args: Its positional arguments.
        """
        self._posted.append((function, args))
        if not self._woken:
            self._woken = True
            try:
                self.loop.call_soon_threadsafe(self._call_posted)
            except RuntimeError:
                if not self.loop.is_closed():
                    raise
                # The process is ending: nobody is left to do it for.

    def _call_posted(self) -> None:
        # Cleared first: what is posted from here on wakes the loop again, so nothing is left over.
        self._woken = False
        posted = self._posted
        # As many as there are now: one that posts itself again must let the loop do other things.
        for _ in range(len(posted)):
            function, args = posted.popleft()
            try:
                function(*args)
            except Exception:
                _log.exception("a call on the I/O thread failed")


# A loop in C that still runs while the interpreter ends crashes the process.
_threads = OnePerProcess(IoThread, IoThread.stop)


def get_io_thread() -> IoThread:
    """Return this process's I/O thread."""
    return _threads.get()
