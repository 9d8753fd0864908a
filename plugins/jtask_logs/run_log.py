"""The log of one attempt: what is kept of it, and the notes about what is not.

The bound is one for all attempts of a run: each hands on to the next how much there is by then.
"""

import itertools
import logging
import time
from typing import TYPE_CHECKING

from jtask.contract import END_OF_ATTEMPT, LogLine
from jtask_logs import HEADER
from jtask_logs.lost_lines import NOTES, count_lines

if TYPE_CHECKING:
    from jtask.runtime import RunContext

NAME = "logs"

WRITTEN_HEADER = "jtask-logged"
"""How many characters earlier attempts of the run have written."""

_LONGEST = 32_000  # characters of one message
_OFF = logging.CRITICAL + 1


class RunLog:
    """Writes the lines of one attempt to this process's client; from any thread.

    Nothing here locks or waits: a record may be written by code that is interrupted anywhere.

    Args:
        run: Whose.
        level: Below it nothing is kept.
        limit: How many characters of the run are kept.
    """

    def __init__(self, run: "RunContext", level: int, limit: int) -> None:
        self.level = level
        self._run_id = run.run_id
        self.attempt = run.attempt
        self._worker = run.worker
        self._limit = limit
        self._before = _written_before(run)
        self._left = limit - self._before
        self._dropped = 0
        self._numbers = itertools.count(1)

    def write(self, level: int, logger: str, message: str, at: float) -> None:
        """Add one record, unless the log is cut already.

        Args:
            level: As `logging` counts them.
            logger: Its name.
            message: The text; what is beyond 32000 characters is left out.
            at: Seconds since the epoch.
        """
        if self._left <= 0:
            return
        if len(message) > _LONGEST:
            message = f"{message[:_LONGEST]}... ({len(message)} characters)"
        self._note_dropped()
        if not self._add(level, logger, message, at):
            self._dropped += 1
        self._use(len(message))

    @property
    def written(self) -> int:
        """How many characters all attempts have written up to now."""
        return self._limit - self._left

    def found_before(self, count: int) -> None:
        """Learn how much is in the log that was not written by this attempt.

        Args:
            count: Characters; what was handed on is part of them.
        """
        unknown = count - self._before
        if unknown <= 0:
            return
        self._before = count
        if count < self._limit:
            self._use(unknown)
        else:
            self._left -= unknown  # whoever reached the limit has noted it

    def end(self) -> None:
        """Say that there is no more to come of this attempt."""
        self._note_dropped()
        self._add(END_OF_ATTEMPT, "", "", time.time())

    def missed(self, count: int) -> None:
        """Note that records were lost on their way here."""
        self._dropped += count

    def _use(self, count: int) -> None:
        was_open = self._left > 0
        self._left -= count
        if was_open and self._left <= 0:
            self._note(
                f"the log of this run is cut here: it has reached JTASK_RUN_LOG_LIMIT "
                f"({self._limit} characters)"
            )

    def _note_dropped(self) -> None:
        dropped = self._dropped
        if dropped and self._note(
            f"{dropped} records are missing here: they came faster than the broker took them"
        ):
            self._dropped -= dropped

    def _note(self, text: str) -> bool:
        return self._add(logging.WARNING, NOTES, text, time.time())

    def _add(self, level: int, logger: str, message: str, at: float) -> bool:
        from jtask.client import current_client

        client = current_client()
        if client is None:
            return True  # a direct call of a program that is not connected: nobody is to read it
        number = next(self._numbers)
        line = LogLine(self._run_id, at, level, logger, message, self.attempt, self._worker, number)
        return client.logs.add(line)


def log_of(run: "RunContext") -> RunLog:
    """Return the log of a run's attempt, made at its first record."""
    known: RunLog | None = run.notes.get(NAME)
    if known is not None and known.attempt == run.attempt:
        return known
    from jtask.settings import settings_of
    from jtask_logs.settings import LogSettings

    settings = settings_of(LogSettings)
    log = RunLog(run, level_number(settings.run_log_level), settings.run_log_limit)
    if known is not None:
        run.notes.pop(NAME, None)
    # Of two threads that come here at once, both get the first one's.
    found: RunLog = run.notes.setdefault(NAME, log)
    if not run.is_copy:
        run.concern(HEADER)
        run.lines_attempt = run.attempt
        if found is log and run.lost_workers:
            count_lines(run, found.found_before)
    return found


def _written_before(run: "RunContext") -> int:
    try:
        return max(0, int(run.headers.get(WRITTEN_HEADER, 0)))
    except ValueError:  # a header may be anybody's
        return 0


def level_number(name: str) -> int:
    """Return a level's number; of OFF one that no record reaches."""
    return logging.getLevelNamesMapping().get(name, _OFF)
