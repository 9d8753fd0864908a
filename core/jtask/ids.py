"""Run ids: UUIDv7 (RFC 9562) whose last 40 bits name the process that called.

The subject of a run's outcome follows from its id alone, so a process is notified of all its own
runs through one subscription, and any other process that holds an id can find the run.
"""

import os
import re
import secrets
import threading
import time

from jtask.singletons import Singleton

_SHAPE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_COUNTER_BITS = 34  # rand_a (12) and what the caller's id leaves of rand_b (22)
_COUNTER_MASK = (1 << _COUNTER_BITS) - 1
_TEXT = "%08x-%04x-7%03x-%04x-%02x%s"
CLIENT_HEX = 10  # 40 bits: about a million processes before two are likely to share a name


class RunIds:
    """Make the run ids of one process: ordered by time, unique without coordination.

    Args:
        client: Ten hexadecimal digits that name the process; random when not given.
    """

    def __init__(self, client: str | None = None) -> None:
        self.client = client or secrets.token_hex(CLIENT_HEX // 2)
        # Not a plain lock: a signal handler may make an id in the middle of making one.
        self._lock = threading.RLock()
        self._is_reserving = False
        self._millis = 0
        self._counter = 0
        self._endings = [f"{low:02x}{self.client}" for low in range(256)]

    def new(self) -> str:
        """Return a new run id, greater than every earlier one of this process."""
        n, millis = self._reserve(1)
        # As `new_many`, which says more; of one alone, its way takes twice as long.
        counted = (n >> 22, 0x8000 | (n >> 8) & 0x3FFF, n & 0xFF)
        return _TEXT % (millis >> 16, millis & 0xFFFF, *counted, self.client)

    def new_many(self, count: int) -> list[str]:
        """Return `count` run ids in ascending order."""
        first, millis = self._reserve(count)
        # 48 bits of time, the version (7), 12 bits of the counter, the variant (binary 10) with 14
        # more, the last 8; then the client.
        time_part = f"{millis >> 16:08x}-{millis & 0xFFFF:04x}-7"
        run_ids: list[str] = []
        while count:
            low = first & 0xFF
            beginning = f"{time_part}{first >> 22:03x}-{0x8000 | (first >> 8) & 0x3FFF:04x}-"
            # All that differ in the last 8 bits only: what is common is written once for 256.
            endings = self._endings[low : low + count]
            run_ids += [beginning + ending for ending in endings]
            first += len(endings)
            count -= len(endings)
        return run_ids

    def _reserve(self, count: int) -> tuple[int, int]:
        with self._lock:
            if self._is_reserving:
                # Out of the order, but still unique: by chance as another process's.
                return secrets.randbits(_COUNTER_BITS - 2), self._millis + 1
            self._is_reserving = True
            try:
                return self._reserve_in_order(count)
            finally:
                self._is_reserving = False

    def _reserve_in_order(self, count: int) -> tuple[int, int]:
        # A clock that steps back must not break the order: keep the last millisecond.
        millis = max(time.time_ns() // 1_000_000, self._millis)
        if millis > self._millis or self._counter + count > _COUNTER_MASK:
            millis = max(millis, self._millis + 1)
            self._millis = millis
            # Start low enough to leave room for a large batch in the same millisecond.
            self._counter = secrets.randbits(_COUNTER_BITS - 2)
        first = self._counter
        self._counter += count
        return first, millis


@Singleton
def get_run_ids() -> RunIds:
    """Return what makes this process's run ids."""
    return RunIds()


# A child process must not continue with its parent's name and counter.
os.register_at_fork(after_in_child=get_run_ids.cache_clear)


def client_of(run_id: str) -> str:
    """Return the ten digits in a run id that name the process which made it."""
    return run_id[-CLIENT_HEX:]


def created_at(run_id: str) -> float:
    """Return when a run id was made, seconds since the epoch."""
    return int(run_id[:8] + run_id[9:13], 16) / 1000


def is_run_id(text: str) -> bool:
    """Tell whether a string is a run id."""
    return _SHAPE.fullmatch(text) is not None


def process_label() -> str:
    """Return `host-pid`, the label of this process in logs and events."""
    return f"{os.uname().nodename}-{os.getpid()}"
