"""The end of a run's log, read on from where it was read before."""

import logging
from collections import deque

from jtask.contract import END_OF_ATTEMPT, LogLine, LogStore

_LINES = 500


class LogTail:
    """The last lines of a run's log.

    Attributes:
        lines: They, oldest first.
        count: How many there were in all.

    Args:
        run_id: Whose.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._position = 0
        self.lines: deque[LogLine] = deque(maxlen=_LINES)
        self.count = 0

    async def read(self, store: LogStore) -> None:
        """Read what has come since; on the I/O loop.

        Raises:
            BrokerError: The broker cannot be asked.
        """
        async for page in store.read(self._run_id, after=self._position):
            self._position = page.position
            lines = [line for line in page.lines if line.level != END_OF_ATTEMPT]
            self.lines.extend(lines)
            self.count += len(lines)

    @staticmethod
    def level(line: LogLine) -> str:
        """Return the name of a line's level."""
        return logging.getLevelName(line.level)
