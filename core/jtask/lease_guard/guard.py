"""The worker's side of the lease guard.

A task in C code that does not release the GIL (a regular expression, a power of large numbers)
stops the worker's I/O thread with everything else. Its run is not dead, so it must not be started
elsewhere. The guard, a small process, watches a heartbeat in shared memory; when it stands still
and the worker still burns CPU, the guard renews the leases that the worker has entered there. A
worker that is stopped, dead or deadlocked burns none and loses its leases as it should.

Linux only: elsewhere there is no /proc to tell a busy process from a stuck one.
"""

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
from typing import Any

from jtask.lease_watch.assignment import Assignment
from jtask.lease_watch.renewer import OpenRenewer, name_of
from jtask.lease_watch.table import NO_SLOT, SIZE, LeaseTable

# Not by -m: what finds and runs a module takes another MiB.
_PROGRAM = "from jtask.lease_watch.process import main; main()"
_BEATS_PER_LEASE = 6  # so that the guard notices a standstill within a third of a lease
_LONGEST_BEAT = 1.0  # seconds
_EXIT_TIMEOUT = 2.0  # seconds

_supervision = (0, 0.0)
_log = logging.getLogger("jtask")


class LeaseGuard:
    """Let another process renew leases while nothing in this one can execute.

    The broker renews its leases from its event loop, as it would without a guard. It also enters
    each claim here, for as long as it holds it. While the loop stands still although the process
    is busy, the guard calls the broker's renewer with the claims that are entered.

    All methods are called on that event loop. Where there is no guard (not on Linux, not started,
    closed), they do nothing.

    Args:
        open_renewer: Connects to the broker in the guard's process and gives what renews claims:
            an async context manager at the top level of an importable module. The guard imports
            that module when it first has to renew, for short leases at its start.
        config: What `open_renewer` is called with; anything that JSON can carry. It may hold
            passwords: no other user of the machine can read it.
        lease: Seconds after which an unrenewed lease is over.

    Raises:
        ConfigurationError: Another process cannot import `open_renewer` by its name.
        TypeError: JSON cannot carry the configuration.
    """

    def __init__(self, open_renewer: OpenRenewer, config: Any, lease: float) -> None:
        self._renewer = name_of(open_renewer)
        self._config = json.dumps(config)
        self._lease = lease
        self._beat_interval = min(_LONGEST_BEAT, lease / _BEATS_PER_LEASE)
        self._descriptor = -1
        self._table: LeaseTable | None = None
        self._replace_at = 0.0  # by the loop's clock
        self._process: subprocess.Popen[bytes] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """The guard's process id, once it is started."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the heartbeat of the running loop, and the process without waiting for it.

        When the process cannot be started, a warning is logged.

        Raises:
            OSError: There is no memory to share.
        """
        if sys.platform != "linux" or self._starting is not None:
            return
        self._descriptor = os.memfd_create("jtask-leases")
        os.ftruncate(self._descriptor, SIZE)
        self._table = LeaseTable(self._descriptor)
        self._start_process()
        self._beat()

    def hold(self, claim: str) -> int:
        """Put a lease under the guard.

        Args:
            claim: What the renewer needs to renew it, such as a receipt or an ack subject; at most
                254 bytes as UTF-8.

        Returns:
            int: Its slot, for `drop`; NO_SLOT when it is not guarded: the claim is too long, or
            4,096 others are held.
        """
        return NO_SLOT if self._table is None else self._table.put(claim)

    def drop(self, slot: int) -> None:
        """Take a lease away from the guard, once.

        Args:
            slot: What `hold` returned.
        """
        if slot != NO_SLOT and self._table is not None:
            self._table.clear(slot)

    async def close(self) -> None:
        """Stop the heartbeat and end the process; returns when it is gone."""
        if self._timer is not None:
            self._timer.cancel()
        if self._starting is not None:
            await self._starting
        if self._process is not None:
            # Blocking, for a few milliseconds: at exit no executor takes work any more.
            _end(self._process)
        if self._table is not None:
            table, self._table = self._table, None
            table.close()
            os.close(self._descriptor)

    def _beat(self) -> None:
        if self._table is not None:
            self._table.beat()
            self._replace_if_dead()
            self._timer = asyncio.get_running_loop().call_later(self._beat_interval, self._beat)

    def _replace_if_dead(self) -> None:
        loop, process = asyncio.get_running_loop(), self._process
        # Once in a lease: one that cannot live is not to keep the machine busy.
        if process is None or process.poll() is None or loop.time() < self._replace_at:
            return
        _log.warning(
            "the lease guard (process %d) has ended with %d: another one is started",
            process.pid,
            process.returncode,
        )
        self._process = None
        self._start_process()

    def _start_process(self) -> None:
        loop = asyncio.get_running_loop()
        self._replace_at = loop.time() + self._lease
        self._starting = loop.create_task(self._try_to_start())

    async def _try_to_start(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._spawn)
        except OSError as error:
            _log.warning(
                "no lease guard (%s): a task that blocks the interpreter for more than %g s "
                "may be started again elsewhere",
                error,
                self._lease,
            )

    def _spawn(self) -> None:
        self._process = process = _popen(self._descriptor)
        assignment = Assignment(
            os.getpid(),
            self._descriptor,
            self._lease,
            self._beat_interval,
            self._renewer,
            self._config,
            *_supervision,
        )
        if process.stdin is not None:
            # Not as an argument, which every user of the machine can read: it holds the password.
            process.stdin.write(assignment.to_line())
            process.stdin.flush()


def end_with(supervisor: int, patience: float) -> None:
    """Have the guards that this process starts end it when its supervisor is gone.

    Args:
        supervisor: Process id of its parent.
        patience: Seconds that this process may go on without being able to stop by itself.
    """
    global _supervision
    _supervision = (supervisor, patience)


def _popen(descriptor: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P: a file in the working directory must not shadow what the guard imports.
        [sys.executable, "-P", "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=[descriptor],
        # A Ctrl-C in the terminal is the worker's business.
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(_EXIT_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
