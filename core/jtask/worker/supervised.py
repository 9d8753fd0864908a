"""A supervised worker's line to its supervisor: says that it works, ends with the supervisor."""

import contextlib
import logging
import os
import signal
import socket
import threading

from jtask.lease_guard import end_with

READY = b"r"
_log = logging.getLogger("jtask.worker")
_lifeline: "Lifeline | None" = None
_worker_index = 0


class Lifeline:
    """The worker's end of a socket whose other end is open as long as the supervisor lives.

    Args:
        descriptor: The inherited socket.
    """

    def __init__(self, descriptor: int) -> None:
        self._line = socket.socket(fileno=descriptor)
        # What a task starts must not keep this end open after the worker.
        self._line.set_inheritable(False)
        threading.Thread(target=self._watch, name="jtask-lifeline", daemon=True).start()

    def report_ready(self) -> None:
        """Tell the supervisor that the start succeeded."""
        with contextlib.suppress(OSError):  # it is gone, which the watching thread sees too
            self._line.send(READY)

    def _watch(self) -> None:
        try:
            # Nothing is ever sent this way: it returns when the other end is closed, however the
            # supervisor ended.
            is_gone = not self._line.recv(1)
        except ConnectionError:
            # Not an end of file: it died before it read that this worker is ready.
            is_gone = True
        if is_gone:
            self._line.close()
            _log.warning("the supervisor is gone: stopping")
            os.kill(os.getpid(), signal.SIGTERM)  # and so with time to finish


def hold(descriptor: int, worker_index: int, shutdown_timeout: float) -> None:
    """Make this process a supervised worker.

    Args:
        descriptor: The inherited socket.
        worker_index: Which of the supervisor's workers it is, from 0; its successor is the same.
        shutdown_timeout: Seconds that runs may take to finish once the supervisor is gone.
    """
    global _lifeline, _worker_index
    # While C code holds the interpreter, the thread that watches the line gets no turn.
    end_with(os.getppid(), shutdown_timeout)
    _lifeline = Lifeline(descriptor)
    _worker_index = worker_index


def report_ready() -> None:
    """Tell the supervisor, if there is one, that a worker takes runs."""
    if _lifeline is not None:
        _lifeline.report_ready()


def is_supervised() -> bool:
    """Tell whether this process is one of a supervisor's workers."""
    return _lifeline is not None


def worker_index() -> int:
    """Return which of its supervisor's workers this process is; 0 without a supervisor."""
    return _worker_index
