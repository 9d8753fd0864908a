"""Several worker processes as one: start them, replace what dies, stop them together."""

import logging
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from jtask.worker.exit_codes import ExitCode
from jtask.worker.signals import stop_signals_to
from jtask.worker.supervised import READY

STOP_MARGIN_SECONDS = 20.0
"""Beyond the shutdown timeout a worker stores outcomes and disconnects; then it is killed."""

_FIRST_PAUSE = 0.1  # seconds before a dead worker's successor starts
_LONGEST_PAUSE = 30.0
_HEALTHY_SECONDS = 60.0  # a worker that lived this long was no failed start
# Started again at once, it would fail the same way: the target is wrong, or the broker away.
_REFUSALS = (ExitCode.USAGE, ExitCode.BROKER)
_log = logging.getLogger("jtask.worker")


def supervise(
    targets: list[str],
    processes: int,
    options: list[str],
    shutdown_timeout: float,
    changes: Iterable[list[str]] | None = None,
) -> None:
    """Run worker processes until SIGTERM or Ctrl-C, which are passed on to them.

    The first worker starts alone: when it cannot start, the reason is said once.

    Args:
        targets: What each process serves.
        processes: How many.
        options: For `jtask serve`.
        shutdown_timeout: What the workers were told; one that takes much longer is killed.
        changes: Yields changed files; the workers are replaced after each.

    Raises:
        SystemExit: No worker could start; with the worker's own exit code.
    """
    # The very interpreter: another `jtask` may come first on the PATH. With -P, so that nothing in
    # the current folder is imported in place of the standard library's.
    command = [sys.executable, "-P", "-m", "jtask.cli", "serve", *options]
    # One process alone would import the targets with the path that this one has.
    command += [f"--path={entry}" for entry in sys.path]
    supervisor = _Supervisor(command, targets, processes, shutdown_timeout)
    if changes is not None:
        supervisor.follow(changes)
    refusal = supervisor.run()
    if refusal is not None:
        raise SystemExit(refusal)


class Backoff:
    """How long to wait before a dead worker is replaced."""

    def __init__(self) -> None:
        self._pause = 0.0

    def after(self, lived: float) -> float:
        """Return the pause after a worker that lived for some seconds: longer each time."""
        if lived >= _HEALTHY_SECONDS or not self._pause:
            self._pause = _FIRST_PAUSE
        else:
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return self._pause


# Rust, in which pydantic is written, aborts where Python raises MemoryError.
_REASONS: dict[int, str] = {
    signal.SIGABRT: " (a library gave up, often because it got no memory: stderr says why)"
}


def describe_end(code: int) -> str:
    """Say how a process ended, from its return code as `subprocess` gives it."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}{_REASONS.get(-code, '')}"
    except ValueError:
        return f"was killed by signal {-code}"


@dataclass(frozen=True, slots=True)
class _Ready:
    child: "_Child"


@dataclass(frozen=True, slots=True)
class _Ended:
    child: "_Child"
    code: int


@dataclass(frozen=True, slots=True)
class _Signalled:
    """SIGTERM or Ctrl-C has come."""


@dataclass(frozen=True, slots=True)
class _Changed:
    files: list[str]


_Event = _Ready | _Ended | _Signalled | _Changed


class _Child:
    """One worker process, and the socket that ties its life to this process."""

    def __init__(
        self,
        command: list[str],
        targets: list[str],
        worker_index: int,
        tell: "Callable[[_Event], None]",
    ) -> None:
        self._line, theirs = socket.socketpair()
        descriptor = theirs.fileno()
        # Closed here once the worker has it, so that the line ends when the worker does.
        with theirs:
            # A group of its own: Ctrl-C in a terminal reaches the supervisor only, which passes it
            # on, so that each worker gets every signal exactly once.
            self.process = subprocess.Popen(
                [
                    *command,
                    f"--lifeline={descriptor}",
                    f"--worker-index={worker_index}",
                    "--",
                    *targets,
                ],
                pass_fds=(descriptor,),
                process_group=0,
            )
        self.started = time.monotonic()
        self.kill_at: float | None = None
        self.replaced = False
        threading.Thread(target=self._watch, args=(tell,), daemon=True).start()

    @property
    def lived(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.started

    def stop(self, seconds: float) -> None:
        """Have the process stop; kill it when it lives on for too long."""
        self.kill_at = time.monotonic() + seconds
        # For Ctrl-C too, of which one that still imports would print a traceback.
        self.process.terminate()

    def _watch(self, tell: "Callable[[_Event], None]") -> None:
        if self._line.recv(1) == READY:
            tell(_Ready(self))
        code = self.process.wait()
        self._line.close()
        tell(_Ended(self, code))


@dataclass(slots=True, eq=False)
class _Position:
    """Room for one worker; empty between a death and the next start."""

    number: int
    child: _Child | None = None
    start_at: float | None = None
    backoff: Backoff = field(default_factory=Backoff)


class _Supervisor:
    """Everything happens in one thread; others only post events."""

    def __init__(
        self, command: list[str], targets: list[str], processes: int, shutdown_timeout: float
    ) -> None:
        self._command = command
        self._targets = targets
        self._patience = shutdown_timeout + STOP_MARGIN_SECONDS
        self._positions = [_Position(number) for number in range(processes)]
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._following = False
        self._proven = False
        self._stopping = False
        self._refusal: int | None = None

    def follow(self, changes: Iterable[list[str]]) -> None:
        """Replace the workers whenever something comes."""

        def post() -> None:
            for files in changes:
                self._events.put(_Changed(files))

        self._following = True
        threading.Thread(target=post, name="jtask-reload", daemon=True).start()

    def run(self) -> int | None:
        """Work until told to stop; return the exit code of a worker that could not start."""
        with stop_signals_to(lambda _: self._events.put(_Signalled())):
            try:
                self._start(self._positions[0])
                while not self._is_over():
                    event = self._next_event()
                    if event is not None:
                        self._handle(event)
                    self._do_what_is_due()
            finally:
                self._kill_the_rest()
        return self._refusal

    def _is_over(self) -> bool:
        return self._stopping and not any(position.child for position in self._positions)

    def _next_event(self) -> _Event | None:
        dues = [position.start_at for position in self._positions]
        dues += [position.child.kill_at for position in self._positions if position.child]
        due = min((due for due in dues if due is not None), default=None)
        try:
            return self._events.get(
                timeout=None if due is None else max(0.0, due - time.monotonic())
            )
        except queue.Empty:
            return None

    def _handle(self, event: _Event) -> None:
        if isinstance(event, _Ready):
            self._prove()
        elif isinstance(event, _Ended):
            self._replace(event.child, event.code)
        elif isinstance(event, _Signalled):
            self._stop()
        else:
            self._reload(event.files)

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        for position in self._positions:
            if position.start_at is not None and position.start_at <= now:
                self._start(position)
            child = position.child
            if child is not None and child.kill_at is not None and child.kill_at <= now:
                _log.error("worker %d does not stop: killing it", child.process.pid)
                child.kill_at = None
                child.process.kill()

    # --- the life of a worker --------------------------------------------------------------

    def _start(self, position: _Position) -> None:
        position.start_at = None
        position.child = _Child(self._command, self._targets, position.number, self._events.put)

    def _prove(self) -> None:
        """Start the other workers once one has shown that a start succeeds."""
        if self._proven or self._stopping:
            return
        self._proven = True
        for position in self._positions[1:]:
            self._start(position)

    def _replace(self, child: _Child, code: int) -> None:
        position = next(position for position in self._positions if position.child is child)
        position.child = None
        if self._stopping:
            # A worker that was not ready yet has no handler for the signal, and dies of it.
            if code not in (0, -signal.SIGTERM):
                _log.warning("worker %d %s", child.process.pid, describe_end(code))
        elif child.replaced:
            self._start(position)
        elif code in _REFUSALS and self._following:
            _log.info("waiting for a changed file")
        elif code in _REFUSALS and not self._proven:
            self._refusal = code
            self._stopping = True
        else:
            self._start_later(position, child, code)

    def _start_later(self, position: _Position, child: _Child, code: int) -> None:
        pause = position.backoff.after(child.lived)
        position.start_at = time.monotonic() + pause
        _log.warning(
            "worker %d %s: starting another in %.1f seconds",
            child.process.pid,
            describe_end(code),
            pause,
        )

    def _reload(self, files: list[str]) -> None:
        if self._stopping:
            return
        _log.info("reloading: %s changed", ", ".join(files[:3]) + (", ..." * (len(files) > 3)))
        for position in self._positions:
            child = position.child
            if child is not None and not child.replaced:
                child.replaced = True
                child.stop(self._patience)
            elif child is None and (self._proven or position is self._positions[0]):
                self._start(position)

    # --- stopping --------------------------------------------------------------------------

    def _stop(self) -> None:
        self._stopping = True
        for position in self._positions:
            position.start_at = None
            if position.child is not None:
                position.child.stop(self._patience)

    def _kill_the_rest(self) -> None:
        """Leave no worker behind when this process ends by an error of its own."""
        for position in self._positions:
            if position.child is not None:
                position.child.process.kill()
