"""The child processes of a worker: started when they are needed, kept for the next run."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from socket import SHUT_WR, socket, socketpair

from jtask.execution.one_per_process import OnePerProcess
from jtask.worker.supervisor import describe_end

END_SECONDS = 5.0
"""How long a child that is not needed any more may take to end."""

_STACK_SECONDS = 0.5  # for a child to write where it is; it may not get the processor at once
_PAUSE_SECONDS = 0.02  # a stack is written line by line; silence for so long is its end
_STACK_BYTES = 64 * 1024  # what a pipe holds on Linux
_log = logging.getLogger("jtask.worker")


class ChildProcess:
    """One child process, started at once.

    Attributes:
        process: The process.
        settings: The variables `JTASK_*` that it was started with, and keeps to.
        connection: Over which requests go and replies come.
        notes: Descriptor that is readable when the child has something for the run's history.
        ended: Descriptor that is readable once the child has ended; None where there is no such
            thing.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self) -> None:
        self._closed = False
        self.settings = _settings()
        ours, theirs = socketpair()
        # Never written to. The kernel closes our end with this process, even if that is killed, and
        # the child ends when its end says so.
        parent, self._parent = os.pipe()
        self.notes, notes = os.pipe()
        os.set_blocking(self.notes, False)
        inherited = (theirs.fileno(), parent, notes)
        try:
            # A group of its own: signals of a terminal are the worker's to handle, and what a task
            # has started is ended along with it.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "jtask_timeouts.child", *map(str, inherited)],
                stdin=subprocess.DEVNULL,
                pass_fds=inherited,
                process_group=0,
            )
        finally:
            # Kept open here, the child's ends would outlive the child, and its end go unseen.
            theirs.close()
            os.close(parent)
            os.close(notes)
        self.connection: Connection[bytes, bytes] = Connection(ours.detach())
        # Readable once it has ended, also if a process that it forked keeps the connection open.
        self.ended = os.pidfd_open(self.process.pid) if hasattr(os, "pidfd_open") else None

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens when it has ended."""
        self.process.send_signal(number)

    def read_notes(self) -> str:
        """Return what it has written for the run's history since the last time."""
        try:
            return os.read(self.notes, _STACK_BYTES).decode(errors="replace")
        except BlockingIOError:
            return ""

    def dump_stack(self) -> str:
        """Return where it is just now, C code that holds the GIL included; empty if it is mute.

        The signal may cut short what it waits for.
        """
        self.signal(signal.SIGUSR2)
        text = ""
        while wait([self.notes], timeout=_PAUSE_SECONDS if text else _STACK_SECONDS):
            more = self.read_notes()
            if not more:
                break
            text += more
        return text

    def ask_to_end(self) -> None:
        """Have it end as a program does; nothing can be asked of it any more."""
        # Only this direction: that the other one closes is how the end is seen.
        with suppress(OSError), socket(fileno=os.dup(self.connection.fileno())) as ours:
            ours.shutdown(SHUT_WR)

    def wait_for_end(self, until: float) -> bool:
        """Wait for it to end once it was asked to, and tell whether it has; `kill` comes next.

        Args:
            until: The instant at which to give up, on the monotonic clock.
        """
        # Not by its number, which must stay its own until what it has started is killed.
        seen = self.connection if self.ended is None else self.ended
        return bool(wait([seen], max(0.0, until - time.monotonic())))

    def kill(self) -> str:
        """Kill it and what it has started, and say how it ended; more than once is all right."""
        if not self._closed:
            # Before it is waited for: until then the number is its own.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self._close()
        return describe_end(self.process.wait())

    def reap(self, patience: float) -> str:
        """Say how a child has ended that seems to have; kill it if it takes too long.

        Args:
            patience: Seconds; the connection closes a moment before the process has ended.
        """
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        return self.kill()

    def _close(self) -> None:
        self._closed = True
        self.connection.close()
        for descriptor in (self._parent, self.notes, self.ended):
            if descriptor is not None:
                os.close(descriptor)


class ProcessPool:
    """The idle children; as many live as there were isolated runs at once.

    Starting one and loading the task's module takes far longer than handing it one more run, so
    they are kept for as long as the worker lives: each may have a connection of its own.
    """

    def __init__(self) -> None:
        self._idle: list[ChildProcess] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def acquire(self) -> ChildProcess:
        """Return an idle child, or a new one.

        Raises:
            OSError: A new one cannot be started.
        """
        while True:
            with self._lock:
                child = self._idle.pop() if self._idle else None
            if child is None:
                return ChildProcess()
            if not child.is_alive:
                # Such as one that the kernel killed for its memory while it was idle.
                child.kill()
            elif child.settings != _settings():
                # What the run delays there would go to another broker, or not be found.
                _end([child])
            else:
                return child

    def release(self, child: ChildProcess) -> None:
        """Keep a child that has done its run."""
        with self._lock:
            self._idle.append(child)

    def close(self) -> None:
        """End the idle children as programs end, and kill those that take too long."""
        # A process that this one forked calls it too when it ends.
        if os.getpid() != self._owner:
            return
        with self._lock:
            children, self._idle = self._idle, []
        _end(children)


def _end(children: list[ChildProcess]) -> None:
    for child in children:
        child.ask_to_end()
    until = time.monotonic() + END_SECONDS
    for child in children:
        if not child.wait_for_end(until):
            _log.warning(
                "process %d of isolated tasks did not end within %g seconds and is killed: "
                "a thread or an atexit function of a task holds it up",
                child.process.pid,
                END_SECONDS,
            )
        child.kill()


def _settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("JTASK_")}


# A forked process that used its parent's children would share their connections with it.
_pools = OnePerProcess(ProcessPool, ProcessPool.close)


def get_process_pool() -> ProcessPool:
    """Return this process's children."""
    return _pools.get()


def end_idle_children() -> None:
    """End the children that execute nothing, if there are any; the next run starts a new one."""
    pool = _pools.made()
    if pool is not None:
        pool.close()
