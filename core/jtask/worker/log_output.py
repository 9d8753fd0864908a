"""What a worker's log looks like on stderr: lines for people, or JSON for machines."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jtask.execution.run_records import LABEL, stamp
from jtask.foreign_text import shown_lines
from jtask.ids import process_label
from jtask.worker.supervised import is_supervised

# What every record has; whatever else is in one was given as `extra`.
_USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", LABEL}


class WorkerLabel(NamedTuple):
    """Whose lines a log has.

    Attributes:
        name: The worker.
        is_shown: Whether lines for people have it too, since several workers write to one terminal.
    """

    name: str
    is_shown: bool


def worker_label() -> WorkerLabel:
    """Return what names this process in its log."""
    return WorkerLabel(process_label(), is_supervised())


def log_to_stderr(level: int = logging.INFO, label: WorkerLabel | None = None) -> None:
    """Show what jtask and the user's own loggers say, unless the program has set up logging itself.

    Args:
        level: Of the lines to show.
        label: Whose lines they are; by default, this process's.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    root = logging.getLogger()
    # A library adds NullHandlers; that is no choice of the program's.
    if root.handlers or any(
        not isinstance(handler, logging.NullHandler)
        for handler in logging.getLogger("jtask").handlers
    ):
        return
    name, is_shown = label or worker_label()
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(add_run)
    handler.setFormatter(TextLines(name if is_shown else ""))
    # At the root: a handler of jtask's alone would show nothing of the user's own loggers, and
    # `logging.info()` in a task would add a second one, which repeats each line of jtask's.
    root.addHandler(handler)
    root.setLevel(level)
    # Only now: reading the settings may warn.
    from jtask.settings import get_settings

    if get_settings().log_format == "json":
        handler.setFormatter(JsonLines(name))


def add_run(record: logging.LogRecord) -> bool:
    """Add the run in whose context a record was made; a filter, for a handler that formats here."""
    stamp(record)
    return True


class TextLines(logging.Formatter):
    """Time, level, and who says it: worker, run, logger.

    Args:
        worker: Put into each line, where several workers write to one terminal; "" leaves it out.
    """

    def __init__(self, worker: str = "") -> None:
        super().__init__()
        self._worker = f"{worker} " if worker else ""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text that can neither act on a terminal nor forge a record."""
        # Further lines are indented: none of them begins as a record does.
        return shown_lines(super().format(record)).replace("\n", "\n    ")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the first line of a record."""
        run = getattr(record, LABEL, "")
        name = "" if record.name.partition(".")[0] == "jtask" else f"{record.name}: "
        when = self.formatTime(record)
        return f"{when} {record.levelname} {self._worker}{run}{name}{record.message}"

    def usesTime(self) -> bool:  # noqa: N802 - logging's name
        """Tell that `formatMessage` sees to the time."""
        return False


class JsonLines(logging.Formatter):
    """One JSON object for each record, with all that was given as `extra`.

    Args:
        worker: In records that do not name one.
    """

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line."""
        facts: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "worker": self._worker,
        }
        facts |= {name: value for name, value in vars(record).items() if name not in _USUAL}
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        if record.stack_info:
            facts["stack"] = record.stack_info
        # Escaped to ASCII: no text can end the line, or do something to a terminal.
        return json.dumps(facts, default=str)
