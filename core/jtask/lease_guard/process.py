"""A small process that renews leases while the worker's interpreter is blocked.

A task in C code that does not release the GIL (a regular expression, a power of large numbers)
stops the worker's I/O thread with everything else. Its run is not dead, so it must not be started
elsewhere. The guard watches a heartbeat in shared memory; when it stands still and the worker
still burns CPU, the guard renews the leases that the worker has entered there. A worker that is
stopped, dead or deadlocked burns none and loses its leases as it should.

Linux only: elsewhere there is no /proc to tell a busy process from a stuck one.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from jtask.lease_guard.table import SIZE, LeaseTable

_RENEWALS_PER_LEASE = 3
_EAGER_LEASE = 5.0  # seconds; under this there is no time to import and connect when it is needed
_CONNECT_TIMEOUT = 10.0  # seconds
_EXIT_TIMEOUT = 2.0  # seconds
_NOT_RUNNING = frozenset("TtZX")  # states in /proc/<pid>/stat: stopped, traced, zombie, dead


class GuardAccess(NamedTuple):
    """How a process reaches the server.

    Attributes:
        servers: URLs, each with the user if need be.
        user: User name.
        password: Its password.
        credentials: Path of a .creds file.
    """

    servers: tuple[str, ...]
    user: str | None = None
    password: str | None = None
    credentials: str | None = None


class LeaseGuard:
    """The worker's side of the guard."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("jtask-leases")
        os.ftruncate(self._descriptor, SIZE)
        self._table = LeaseTable(self._descriptor)
        self._process: subprocess.Popen[bytes] | None = None
        self.beat = self._table.beat
        self.hold = self._table.put
        self.drop = self._table.clear

    @property
    def pid(self) -> int | None:
        """The guard's process id, once it is started."""
        return None if self._process is None else self._process.pid

    def start(self, access: GuardAccess, lease: float, beat: float) -> None:
        """Start the process; blocks for some milliseconds.

        Args:
            access: How it reaches the server.
            lease: Seconds.
            beat: Seconds between two looks at the worker.

        Raises:
            OSError: It cannot be started.
        """
        config: dict[str, Any] = {
            "worker": os.getpid(),
            "table": self._descriptor,
            "lease": lease,
            "beat": beat,
            "access": access,
        }
        self._process = subprocess.Popen(
            # -P: a file in the working directory must not shadow what the guard imports.
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[self._descriptor],
            # A Ctrl-C in the terminal is the worker's business.
            start_new_session=True,
        )
        if self._process.stdin is not None:
            # Not as an argument, which every user of the machine can read: it holds the password.
            self._process.stdin.write(json.dumps(config).encode() + b"\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """End the process; blocks until it is gone."""
        if self._process is not None:
            if self._process.stdin is not None:
                with contextlib.suppress(OSError):
                    self._process.stdin.close()
            try:
                self._process.wait(_EXIT_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._table.close()
        os.close(self._descriptor)


class Observation(NamedTuple):
    """The worker at one moment.

    Attributes:
        beats: How often its loop has turned.
        cpu_ticks: Its CPU time.
        state: Letter in /proc/<pid>/stat.
    """

    beats: int
    cpu_ticks: int
    state: str


def must_renew(before: Observation, now: Observation, still_for: float, lease: float) -> bool:
    """Decide whether the worker is alive but cannot renew by itself.

    Args:
        before: A moment ago.
        now: Now.
        still_for: Seconds since the heartbeat last moved.
        lease: Seconds.
    """
    if now.beats != before.beats or still_for < lease / _RENEWALS_PER_LEASE:
        return False
    return now.state not in _NOT_RUNNING and now.cpu_ticks > before.cpu_ticks


def observe(pid: int, table: LeaseTable) -> Observation:
    """Look at a process.

    Raises:
        OSError: It is gone.
    """
    stat = Path(f"/proc/{pid}/stat").read_text()
    # The name, in brackets, may hold anything; the fields are counted from behind it.
    fields = stat[stat.rindex(")") + 2 :].split()
    user_ticks, system_ticks = int(fields[11]), int(fields[12])
    return Observation(table.beats(), user_ticks + system_ticks, fields[0])


class _Guard:
    def __init__(self, config: dict[str, Any]) -> None:
        self._worker: int = config["worker"]
        self._lease: float = config["lease"]
        self._beat: float = config["beat"]
        self._access = GuardAccess(*config["access"])
        self._table = LeaseTable(config["table"])
        self._connection: Any = None
        self._orphaned = asyncio.Event()

    async def watch(self) -> None:
        """Look once per beat until the worker is gone."""
        loop = asyncio.get_running_loop()
        # Readable at its end: the worker closed it, or died in whatever way.
        loop.add_reader(sys.stdin.fileno(), self._orphaned.set)
        connecting: asyncio.Task[None] | None = None
        if self._lease < _EAGER_LEASE:
            connecting = loop.create_task(self._connect())
        before, moved_at = observe(self._worker, self._table), loop.time()
        while not self._orphaned.is_set() and os.getppid() == self._worker:
            await self._pause()
            now = observe(self._worker, self._table)
            if now.beats != before.beats:
                moved_at = loop.time()
            if must_renew(before, now, loop.time() - moved_at, self._lease):
                if self._connection is not None:
                    self._renew()
                elif connecting is None or connecting.done():
                    connecting = loop.create_task(self._connect())
            before = now

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._orphaned.wait(), self._beat)

    async def _connect(self) -> None:
        # Imported when needed: a guard that only watches stays small.
        from jtask.errors import BrokerError
        from jtask_nats.client.connection import Connection

        credentials = self._access.credentials
        with contextlib.suppress(BrokerError):  # the next beat tries again
            self._connection = await Connection.open(
                self._access.servers,
                name=f"jtask lease guard of {self._worker}",
                connect_timeout=_CONNECT_TIMEOUT,
                user=self._access.user,
                password=self._access.password,
                credentials=Path(credentials) if credentials else None,
            )

    def _renew(self) -> None:
        for reply in self._table.claims():
            self._connection.send(reply, b"+WPI")


def main() -> None:
    """Guard the process that started this one; it says how on standard input."""
    config = json.loads(sys.stdin.buffer.readline())
    with contextlib.suppress(OSError):  # the worker is gone
        asyncio.run(_Guard(config).watch())


if __name__ == "__main__":
    main()
