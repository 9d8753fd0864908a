"""Keep what a log handler raises out of the worker: a log that fails must not fail runs.

The handlers of `logging` print what goes wrong in them; those that people write may raise it, and
so do the former once stderr is closed. Whoever logs gets that: for the lines of a task that is the
task, for those of jtask it would be what settles runs, ends them in time and stops the worker.
"""

import contextlib
import logging
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

_lock = threading.Lock()


def guard_own_lines() -> None:
    """Have no handler's error reach jtask where it logs; once is enough."""
    with _lock:
        original = logging.Logger.callHandlers
        if not hasattr(original, "guards_jtask"):
            logging.Logger.callHandlers = _guarding(original)  # type: ignore[assignment]


def _guarding(
    call_handlers: Callable[[logging.Logger, logging.LogRecord], None],
) -> Callable[[logging.Logger, logging.LogRecord], None]:
    @wraps(call_handlers)
    def guarded(self: logging.Logger, record: logging.LogRecord) -> None:
        try:
            call_handlers(self, record)
        except Exception:
            if self.name != "jtask" and not self.name.startswith("jtask."):
                raise
            # As handlers do; stderr may be closed, too.
            with contextlib.suppress(Exception):
                if logging.raiseExceptions and logging.lastResort is not None:
                    logging.lastResort.handleError(record)

    marked: Any = guarded
    marked.guards_jtask = True
    return guarded
