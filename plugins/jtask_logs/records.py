"""Take the records of `logging` that runs make: after their logger has let them pass.

Not by a handler: the root logger's would end what `logging.basicConfig` does in the program, would
be gone after `logging.config.dictConfig`, and hears nothing of loggers that do not propagate.
"""

import logging
import threading
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from jtask.execution.run_records import stamp
from jtask_logs.capturing import capture

if TYPE_CHECKING:
    from jtask.runtime import RunContext

_lock = threading.Lock()
_busy = threading.local()
_formatter = logging.Formatter()


def take_records() -> None:
    """Have all records that runs of this process log taken from now on; once is enough."""
    with _lock:
        original = logging.Logger.callHandlers
        if not hasattr(original, "jtask"):
            logging.Logger.callHandlers = _taking(original)  # type: ignore[assignment]


def _taking(
    call_handlers: Callable[[logging.Logger, logging.LogRecord], None],
) -> Callable[[logging.Logger, logging.LogRecord], None]:
    @wraps(call_handlers)
    def take(self: logging.Logger, record: logging.LogRecord) -> None:
        run = stamp(record)
        if run is not None:
            _take(run, record)
        call_handlers(self, record)

    marked: Any = take
    marked.jtask = True
    return take


def _take(run: "RunContext", record: logging.LogRecord) -> None:
    # What is done here may log as well.
    if getattr(_busy, "is_taking", False):
        return
    _busy.is_taking = True
    try:
        capture(run, record.levelno, record.name, lambda: text_of(record), record.created)
    except Exception:
        # As handlers do: what is wrong with a record must not fail the task.
        if logging.raiseExceptions and logging.lastResort is not None:
            logging.lastResort.handleError(record)
    finally:
        _busy.is_taking = False


def text_of(record: logging.LogRecord) -> str:
    """Return a record's message with its traceback and its stack."""
    parts = [record.getMessage()]
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(record.exc_text or _formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)
