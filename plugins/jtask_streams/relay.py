"""From a child process to the worker: items, in batches, by a thread of their own."""

import contextlib
import json
import queue
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from jtask_streams.texts import text_of

if TYPE_CHECKING:
    from jtask.runtime import RunContext

_MOST = 1000  # items on their way
_BATCH = 100

Tell = Callable[[bytes], None]


@contextlib.contextmanager
def relaying(run: "RunContext", tell: Tell) -> "Generator[None]":
    """Send what a generator yields to the worker inside a `with` block, and the last at its end.

    Args:
        run: The copy of the run.
        tell: Sends a message.
    """
    relay = _Relay(tell)
    if run.task.is_async:

        async def emit(item: object) -> None:
            relay.put(text_of(run.task, item))

        run.emit = emit
    else:
        run.emit = lambda item: relay.put(text_of(run.task, item))
    try:
        yield
    finally:
        run.emit = None
        relay.finish()


class _Relay:
    """Sends texts; whoever puts one waits while too many are on their way.

    Args:
        tell: Sends a message; not from the thread of the function, which may be interrupted.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        # Without a lock of Python's: the main thread may be interrupted while it puts something in.
        self._texts: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(_MOST)
        self._thread = threading.Thread(target=self._send, name="jtask-items", daemon=True)
        self._thread.start()

    def put(self, text: str) -> None:
        """Send a text soon."""
        self._room.acquire()
        self._texts.put(text)

    def finish(self) -> None:
        """Return once all is sent."""
        self._texts.put(None)
        self._thread.join()

    def _send(self) -> None:
        is_over = False
        while not is_over:
            found = [self._texts.get()]
            while len(found) < _BATCH and not self._texts.empty():
                found.append(self._texts.get())
            texts = [text for text in found if text is not None]
            is_over = len(texts) < len(found)
            try:
                if texts:
                    self._tell(json.dumps(texts).encode())
            except OSError:
                return  # the worker is gone, and this process goes with it
            finally:
                self._room.release(max(1, len(texts)))
