"""Keep what logging raises out of the worker: a log that fails must not fail runs.

The handlers of `logging` print what goes wrong in them; those that people write may raise it, and
so do the former once stderr is closed. So may a filter, and what makes the records, such as one
that reads a context variable. Whoever logs gets that: for the lines of a task that is the task, for
those of jtask it would be what settles runs, ends them in time and stops the worker.
"""

import contextlib
import logging
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

_lock = threading.Lock()
_Handle = Callable[[logging.Logger, logging.LogRecord], None]
_MakeRecord = Callable[..., logging.LogRecord]


def guard_own_lines() -> None:
    """Have no error of a handler, filter or record factory reach jtask; once is enough."""
    kind: Any = logging.Logger
    with _lock:
        # Not `_log`, which has both in it: each line would name this file as its caller.
        if not hasattr(kind.handle, "guards_jtask"):
            kind.handle = _guarding_handle(kind.handle)
            kind.makeRecord = _guarding_make_record(kind.makeRecord)


def _guarding_handle(handle: _Handle) -> _Handle:
    @wraps(handle)
    def guarded(self: logging.Logger, record: logging.LogRecord) -> None:
        try:
            handle(self, record)
        except Exception:
            if not _is_own(self):
                raise
            _say_why(record)

    marked: Any = guarded
    marked.guards_jtask = True
    return guarded


def _guarding_make_record(make_record: _MakeRecord) -> _MakeRecord:
    @wraps(make_record)
    def guarded(self: logging.Logger, *about: Any, **more: Any) -> logging.LogRecord:
        try:
            return make_record(self, *about, **more)
        except Exception:
            if not _is_own(self):
                raise
            record = _plain_record(*about, **more)
            _say_why(record)
            return record

    return guarded


def _plain_record(
    name: str,
    level: int,
    path: str,
    line: int,
    message: object,
    args: Any,
    exc_info: Any,
    func: str | None = None,
    extra: Any = None,
    sinfo: str | None = None,
) -> logging.LogRecord:
    record = logging.LogRecord(name, level, path, line, message, args, exc_info, func, sinfo)
    vars(record).update(extra or {})
    return record


def _is_own(logger: logging.Logger) -> bool:
    return logger.name == "jtask" or logger.name.startswith("jtask.")


def _say_why(record: logging.LogRecord) -> None:
    # As handlers do; stderr may be closed, too.
    with contextlib.suppress(Exception):
        if logging.raiseExceptions and logging.lastResort is not None:
            logging.lastResort.handleError(record)
