"""`log_prints`: what a run prints goes to its log, and to where it would have gone."""

import builtins
import logging
import sys
import threading
import time
from functools import wraps
from typing import TYPE_CHECKING, Any

from jtask.runtime import current_run
from jtask_logs.capturing import capture

if TYPE_CHECKING:
    from jtask.runtime import RunContext

PRINTS = "print"
"""The logger's name in the log."""

_lock = threading.Lock()


def take_prints() -> None:
    """Have the prints of runs taken that want it from now on; once is enough.

    `print` stays what it is for all others: the run is looked for in the context of each call, so
    threads and coroutines of other runs go their own ways.
    """
    with _lock:
        original: Any = builtins.print
        if hasattr(original, "jtask"):
            return

        @wraps(original)
        def taking(*values: object, **options: Any) -> None:
            original(*values, **options)
            run = current_run()
            if run is not None and wants_prints(run):
                _take(run, values, options)

        marked: Any = taking
        marked.jtask = True
        builtins.print = marked


def wants_prints(run: "RunContext") -> bool:
    """Tell whether a run's prints go to its log: as its task says, or else its caller's."""
    one: RunContext | None = run
    while one is not None:
        wanted = one.task.options.get("log_prints")
        if wanted is not None:
            return bool(wanted)
        one = one.caller or one.submitter
    from jtask.settings import settings_of
    from jtask_logs.settings import LogSettings

    return settings_of(LogSettings).log_prints


def _take(run: "RunContext", values: tuple[object, ...], options: dict[str, Any]) -> None:
    # What goes to a file is no message.
    if options.get("file") not in (None, sys.stdout, sys.stderr):
        return
    separator = options.get("sep")
    text = (" " if separator is None else separator).join(map(str, values))
    capture(run, logging.INFO, PRINTS, lambda: text, time.time())
