"""From a child process to the worker: the latest report, a few times a second."""

import contextlib
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from jtask.wire.progress import Progress

if TYPE_CHECKING:
    from jtask.runtime import RunContext

_NOTE = "progress"
_PAUSE = 0.25  # seconds between two messages

Tell = Callable[[bytes], None]


class _Relay:
    """Tells the latest report; has a thread from the first one on.

    Args:
        tell: Sends a message; not from the thread of the function, which may be interrupted.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._latest: Progress | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, progress: Progress) -> None:
        """Tell a report soon, unless another one comes before."""
        self._latest = progress
        if self._thread is None:
            self._thread = threading.Thread(target=self._send, name="jtask-progress", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Return once the last one is told."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _send(self) -> None:
        while True:
            is_over = self._over.is_set()
            latest, self._latest = self._latest, None
            try:
                if latest is not None:
                    self._tell(latest.encode())
            except OSError:
                return  # the worker is gone, and this process goes with it
            if is_over:
                return
            self._over.wait(_PAUSE)


@contextlib.contextmanager
def relaying(run: "RunContext", tell: Tell) -> "Generator[None]":
    """Tell the worker how far a run is inside a `with` block, and the last of it at its end."""
    relay = run.notes[_NOTE] = _Relay(tell)
    try:
        yield
    finally:
        run.notes.pop(_NOTE, None)
        relay.finish()


def put(run: "RunContext", progress: Progress) -> None:
    """Tell the worker a report of a run soon."""
    relay: _Relay | None = run.notes.get(_NOTE)
    if relay is not None:
        relay.put(progress)
