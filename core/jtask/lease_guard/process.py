"""The guard's process, as the worker has it: started, asked to end, ended."""

import contextlib
import os
import subprocess
import sys
import threading
from typing import IO

from jtask.lease_watch.assignment import Assignment

# Not by -m: what finds and runs a module takes another MiB.
_PROGRAM = "from jtask.lease_watch.process import main; main()"
_SAY_END = b"\n"
# No fork while one is started: the child would have the pipe on which `Popen` hears that the start
# has succeeded, and who starts it, the loop of all leases, would wait until that child has ended.
_starts = threading.RLock()
os.register_at_fork(
    before=_starts.acquire, after_in_parent=_starts.release, after_in_child=_starts.release
)


class GuardProcess:
    """One process that watches this one.

    Nothing of its start is left to another thread: the run that is handed out next may hold the
    interpreter from its first moment on.

    Args:
        assignment: Whom to guard, and how.

    Raises:
        OSError: The system does not let it start.
    """

    def __init__(self, assignment: Assignment) -> None:
        if not sys.executable:  # where a program embeds Python
            raise FileNotFoundError("it is not known where Python is: sys.executable is empty")
        with _starts:
            self._process = process = subprocess.Popen(
                # -P: a file in the working directory must not shadow what the guard imports.
                [sys.executable, "-P", "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[assignment.table],
                # A Ctrl-C in the terminal is the worker's business.
                start_new_session=True,
            )
        assert process.stdin is not None
        self._orders: IO[bytes] = process.stdin
        # Not as an argument, which every user of the machine can read: it holds the password.
        self._say(assignment.to_line())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def exit_status(self) -> int | None:
        """Return how it has ended, None while it has not."""
        return self._process.poll()

    def ask_to_end(self) -> None:
        """Have it close the renewer and end; `end` has to follow."""
        # A word and not the end of the pipe alone: a process that a task has forked meanwhile may
        # hold this end of it, too.
        self._say(_SAY_END)
        with contextlib.suppress(OSError):
            self._orders.close()

    def end(self, timeout: float) -> None:
        """Wait for the end that it was asked for, then kill it.

        Args:
            timeout: Seconds.
        """
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _say(self, words: bytes) -> None:
        with contextlib.suppress(OSError):  # it is gone, which `exit_status` tells
            self._orders.write(words)
            self._orders.flush()
