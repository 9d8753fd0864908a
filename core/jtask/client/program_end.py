"""Close as the program ends, while everything that a broker may need to close still works.

Three things happen when a program ends, in this order: `concurrent.futures` lets its executors
finish, which take no work from then on; threads that are no daemons are waited for; the functions
of `atexit` are called. A broker or a store may need an executor to close, so that comes first.
"""

import atexit
import concurrent.futures.thread as executors  # registers its own end, which must come after ours
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from jtask.futures.submitted_run import wait_for_all

_log = logging.getLogger("jtask")


def at_program_end(close: Callable[[], object]) -> None:
    """Call a function when the program ends; what it raises is logged in one line.

    Where other threads outlive the main one, they may still need what is to be closed. Then it is
    called after their end, when executors take no work any more.

    Args:
        close: Called twice; must do nothing when there is nothing left to close.
    """

    def close_quietly() -> None:
        try:
            close()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            _log.warning("the connection could not be closed at the end of the program: %s", reason)

    def close_early() -> None:
        # They may need what is to be closed, and nothing is open where none was submitted.
        wait_for_all()
        if not _others_work():
            close_quietly()

    atexit.register(close_quietly)
    # What concurrent.futures itself uses. It is not public: without it, atexit has to do.
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        # The program is ending: a client that direct calls are recorded with connects as late.
        with suppress(RuntimeError):
            register(close_early)


def _others_work() -> bool:
    """Tell whether a thread that the interpreter will wait for has something to do."""
    frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
    return any(
        not (thread.daemon or thread is threading.current_thread())
        and not _is_idle(frames.get(thread.ident or 0))
        for thread in threading.enumerate()
    )


def _is_idle(frame: FrameType | None) -> bool:
    """Tell whether a thread is one of an executor and waits for work."""
    worker = getattr(executors, "_worker", None)
    if frame is None or worker is None or frame.f_code is not worker.__code__:
        return False
    # It may not have woken up yet for what it was given a moment ago.
    queue = frame.f_locals.get("work_queue")
    if queue is None or not queue.empty():
        return False
    # From Python 3.13 on that is in no queue any more: it is handed to a thread that waits.
    executor = frame.f_locals.get("executor_reference", lambda: None)()
    idle_threads = getattr(executor, "_idle_semaphore", None)
    return idle_threads is None or idle_threads._value >= len(executor._threads)
