"""`runtime.progress`: what a run says of how far it is."""

import math
import time
from collections.abc import Callable

from jtask.numbers import is_within
from jtask.runtime.current import current_run
from jtask.runtime.run_context import RunContext
from jtask.wire.progress import Progress

ProgressListener = Callable[[RunContext, Progress], object]
_LONGEST = 1000  # characters of a message
_listeners: tuple[ProgressListener, ...] = ()


def progress(done: float, total: float | None = None, message: str = "") -> None:
    """Say how far the run is that is being executed here; does nothing outside of one.

    Cheap, and never waits: call it for each thing that is done. What counts is the latest.

    Args:
        done: How much is done.
        total: How much there is, if that is known.
        message: What it is at, one sentence.

    Raises:
        TypeError: Something is not a finite number, or not a text.
    """
    for what, value in (("done", done), ("total", total)):
        if not is_within(value, -math.inf) and not (what == "total" and value is None):
            raise TypeError(f"progress: {what} must be a finite number, got {value!r}")
    if not isinstance(message, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"progress: message must be a text, got {message!r}")
    run = current_run()
    if run is None or not _listeners:
        return
    told = Progress(done, total, message[:_LONGEST], time.time(), run.attempt)
    for listener in _listeners:
        listener(run, told)


def on_progress(listener: ProgressListener) -> None:
    """Have something called with whatever runs of this process say of their progress.

    Args:
        listener: Called in the thread of the run, so it must not block. Once, however often it is
            given.
    """
    global _listeners
    if listener not in _listeners:
        _listeners += (listener,)
