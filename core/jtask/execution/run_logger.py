"""`jtask.get_run_logger`."""

import logging
from typing import TYPE_CHECKING, Any

from jtask.errors import NotInRun
from jtask.runtime import current_run

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:  # generic for checkers only, in Python 3.11
    _Adapter = logging.LoggerAdapter


def get_run_logger(**extra: Any) -> _Adapter:
    """Return a logger for the run that is being executed here: that of its task.

    What is logged goes to the run's log (`jtask logs ID`) and to the program's own handlers. Any
    other logger does the same inside a run; this one has the task's name.

    Args:
        extra: Attributes of each of its records.

    Raises:
        NotInRun: Nothing is being executed in this context.
    """
    run = current_run()
    if run is None:
        raise NotInRun(
            "get_run_logger() was called outside a run: call it inside a task's function, or use "
            "logging.getLogger(); a thread that a task starts itself needs a copy of the task's "
            "context (contextvars.copy_context)"
        )
    return logging.LoggerAdapter(logging.getLogger(f"jtask.task.{run.task_name}"), extra)
