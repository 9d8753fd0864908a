"""Where a run's records go: to its log, or from a child process to the worker."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from jtask.execution.run_records import tell_line
from jtask_logs.relay import relay
from jtask_logs.run_log import log_of

if TYPE_CHECKING:
    from jtask.runtime import RunContext


def capture(run: "RunContext", level: int, logger: str, text: Callable[[], str], at: float) -> None:
    """Add a record to a run's log if its level is high enough.

    Args:
        run: The run.
        level: Of the record, as `logging` counts them.
        logger: Who wrote it.
        text: Makes the message, where it is wanted.
        at: When it was written, seconds since the epoch.
    """
    log = log_of(run)
    if level < log.level:
        return
    tell_line(run, level, logger, text, at)
    if run.is_copy:
        relay.put(level, logger, text(), at)
    else:
        log.write(level, logger, text(), at)
