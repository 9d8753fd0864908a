"""Which run a record of `logging` belongs to, written into the record."""

import logging
import sys
from collections.abc import Callable

from jtask.runtime import RunContext, current_run

LABEL = "jtask_run_label"
"""The attribute that names the run for people."""
LineListener = Callable[[RunContext, int, str, Callable[[], str], float], object]
"""Takes a run, the level as `logging` counts them, who wrote it, what makes the text, and when:
seconds since the epoch."""
_listeners: tuple[LineListener, ...] = ()


def on_line(listener: LineListener) -> None:
    """Have something called with each line that the log of a run of this process gets.

    Args:
        listener: Called in the thread that logs or prints, so it must not block.
    """
    global _listeners
    _listeners += (listener,)


def tell_line(run: RunContext, level: int, logger: str, text: Callable[[], str], at: float) -> None:
    """Call those that `on_line` was given."""
    for listener in _listeners:
        listener(run, level, logger, text, at)


def stamp(record: logging.LogRecord) -> RunContext | None:
    """Add the run in whose context a record is handled, unless the record names one.

    A record gets `run_id`, `task` and `attempt`, and where OpenTelemetry has a span `trace_id` and
    `span_id`. What it has under these names stays.

    Args:
        record: Made in this context.

    Returns:
        RunContext | None: The run of this context.
    """
    run = current_run()
    # jtask's own records name their run already.
    if run is not None and not hasattr(record, "run_id"):
        facts = vars(record)
        facts["run_id"] = run.run_id
        facts.setdefault("task", run.task_name)
        facts.setdefault("attempt", run.attempt)
        if run.own_name is not None:
            facts.setdefault("run_name", run.own_name)
        again = f" attempt {run.attempt}" if run.attempt > 1 else ""
        facts[LABEL] = f"[{run.task_name} {run.label}{again}] "
        _name_span(record)
    return run


def _name_span(record: logging.LogRecord) -> None:
    # Not imported: where nobody else has, there is no span.
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        facts = vars(record)
        facts.setdefault("trace_id", f"{span.trace_id:032x}")
        facts.setdefault("span_id", f"{span.span_id:016x}")
