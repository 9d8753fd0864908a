"""From a child process to the worker: records, in batches, by a thread of their own."""

import json
import queue
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from jtask_logs.run_log import NAME, log_of

if TYPE_CHECKING:
    from jtask.runtime import RunContext

_MOST_RECORDS = 20_000
_LONGEST = 32_000  # characters; the worker cuts there, too
_BATCH = 500
_END_SECONDS = 5.0  # for what is left when the function has returned

Tell = Callable[[str, bytes], None]
_Record = tuple[int, str, str, float]


class Relay:
    """Sends the records of the run that a child process executes; it has one at a time."""

    def __init__(self) -> None:
        # Without a lock of Python's: the main thread may be interrupted while it puts something in.
        self._queue: queue.SimpleQueue[_Record | threading.Event] = queue.SimpleQueue()
        self._dropped = 0
        self._tell: Tell | None = None
        self._thread: threading.Thread | None = None

    def put(self, level: int, logger: str, message: str, at: float) -> None:
        """Send a record soon, or drop it where too many wait already."""
        if self._queue.qsize() >= _MOST_RECORDS:
            self._dropped += 1
        else:
            self._queue.put((level, logger, message[: _LONGEST + 1], at))

    @contextmanager
    def sending(self, tell: Tell) -> Generator[None]:
        """Send to a worker inside a `with` block, and all that is left at its end.

        Args:
            tell: Sends a message with its topic.
        """
        self._tell = tell
        if self._thread is None:
            self._thread = threading.Thread(target=self._send, name="jtask-logs", daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            sent = threading.Event()
            self._queue.put(sent)
            sent.wait(_END_SECONDS)

    def _send(self) -> None:
        while True:
            waiting = [self._queue.get()]
            while len(waiting) < _BATCH and not self._queue.empty():
                waiting.append(self._queue.get())
            records = [one for one in waiting if not isinstance(one, threading.Event)]
            dropped, self._dropped = self._dropped, 0
            try:
                if self._tell is not None and (records or dropped):
                    self._tell(NAME, json.dumps([dropped, records]).encode())
            except OSError:
                return  # the worker is gone, and this process goes with it
            finally:
                for one in waiting:
                    if isinstance(one, threading.Event):
                        one.set()


relay = Relay()
"""This process's one."""


def receive(run: "RunContext", message: bytes) -> None:
    """Write what a child process has sent to the log of its run; in the worker."""
    dropped, records = cast("tuple[int, list[Any]]", json.loads(message))
    log = log_of(run)
    for level, logger, text, at in records:
        log.write(level, logger, text, at)
    log.missed(dropped)
