"""The child processes of a worker: started when they are needed, kept for the next run."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from socket import socketpair

from jtask.worker.supervisor import describe_end

_STACK_SECONDS = 0.5  # for a child to write where it is; it may not get the processor at once
_PAUSE_SECONDS = 0.02
_STACK_BYTES = 64 * 1024


class ChildProcess:
    """One child process."""

    def __init__(self) -> None:
        self._closed = False
        ours, theirs = socketpair()
        lifeline, self._lifeline = os.pipe()
        self.stacks, stacks = os.pipe()
        os.set_blocking(self.stacks, False)
        inherited = (theirs.fileno(), lifeline, stacks)
        try:
            # A group of its own: signals of a terminal are the worker's to handle, and what a task
            # has started is ended along with it.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jtask_timeouts.child", *map(str, inherited)],
                stdin=subprocess.DEVNULL,
                pass_fds=inherited,
                process_group=0,
            )
        finally:
            theirs.close()
            os.close(lifeline)
            os.close(stacks)
        self.line: Connection[bytes, bytes] = Connection(ours.detach())
        # Readable once it has ended, also if a process that it forked keeps the connection open.
        self.ended = os.pidfd_open(self.process.pid) if hasattr(os, "pidfd_open") else None

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens when it has ended."""
        self.process.send_signal(number)

    def told(self) -> str:
        """Return what it has said of where it is since it was asked last."""
        try:
            return os.read(self.stacks, _STACK_BYTES).decode(errors="replace")
        except BlockingIOError:
            return ""

    def stack(self) -> str:
        """Return where it is just now, C code that holds the GIL included; empty if it is mute.

        The signal may cut short what it waits for.
        """
        self.signal(signal.SIGUSR2)
        text = ""
        while wait([self.stacks], timeout=_PAUSE_SECONDS if text else _STACK_SECONDS):
            more = self.told()
            if not more:
                break
            text += more
        return text

    def end(self) -> str:
        """Kill it and what it has started, and say how it ended; more than once is all right."""
        if not self._closed:
            # Before it is waited for: until then the number is its own.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self._close()
        return describe_end(self.process.wait())

    def bury(self, patience: float) -> str:
        """Say how a child has ended that seems to have; kill it if it takes too long."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        return self.end()

    def _close(self) -> None:
        self._closed = True
        self.line.close()
        for descriptor in (self._lifeline, self.stacks, self.ended):
            if descriptor is not None:
                os.close(descriptor)


class ProcessPool:
    """The idle children; as many live as there were isolated runs at once."""

    def __init__(self) -> None:
        self._idle: list[ChildProcess] = []
        self._lock = threading.Lock()

    def take(self) -> ChildProcess:
        """Return an idle child, or a new one."""
        while True:
            with self._lock:
                child = self._idle.pop() if self._idle else None
            if child is None:
                return ChildProcess()
            if child.is_alive:
                return child
            child.end()

    def give_back(self, child: ChildProcess) -> None:
        """Keep a child that has done its run."""
        with self._lock:
            self._idle.append(child)


_pool = ProcessPool()


def get_process_pool() -> ProcessPool:
    """Return this process's children."""
    return _pool


def _forget_after_fork() -> None:
    global _pool
    _pool = ProcessPool()


os.register_at_fork(after_in_child=_forget_after_fork)
