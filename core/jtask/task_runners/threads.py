"""Threads that are started when they are needed, and end when they have had nothing to do."""

import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable

Work = Callable[[], object]
_IDLE_SECONDS = 5.0
_log = logging.getLogger("jtask")


class _Thread:
    def __init__(self, work: Work) -> None:
        self.inbox: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self.inbox.put(work)
        # A daemon: the end of the program waits for runs, not for threads.
        threading.Thread(target=self._run, name="jtask-submitted", daemon=True).start()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except BaseException:
                _log.exception("a thread of a task runner has failed inside jtask")
            del work  # or it would live as long as the thread is idle
            with _lock:
                _idle.append(self)

    def _next(self) -> Work | None:
        try:
            return self.inbox.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            with _lock:
                # Else it has been chosen a moment ago, and its work is on the way.
                if self in _idle:
                    _idle.remove(self)
                    return None
            return self.inbox.get()


_lock = threading.Lock()
_idle: deque[_Thread] = deque()


def in_thread(work: Work) -> None:
    """Call a function in a thread of its own; returns at once.

    Args:
        work: The function; how many there are at once is the caller's to limit.

    Raises:
        RuntimeError: The machine gives no more threads.
    """
    with _lock:
        thread = _idle.pop() if _idle else None
    if thread is not None:
        thread.inbox.put(work)
    else:
        _Thread(work)


def _forget_after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _idle.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
