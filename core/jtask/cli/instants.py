"""Options that take an instant."""

import contextlib
import time
from datetime import datetime

from jtask.cli.parameters import Number
from jtask.durations import parse_seconds


class Instant(Number):
    """A date and time in ISO 8601, local unless it names a zone; gives seconds since the epoch.

    Args:
        ago: Whether a length of time such as `2h` is taken too, and means so long ago.
    """

    name = "instant"

    def __init__(self, *, ago: bool = False) -> None:
        self._ago = ago

    def read(self, text: str) -> float:
        """Return seconds since the epoch."""
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(text).timestamp()
        if not self._ago:
            raise ValueError(f"{text!r} is not a date or time: use 2031-05-04T18:30 or 2031-05-04")
        with contextlib.suppress(ValueError):
            return time.time() - parse_seconds(text)
        raise ValueError(
            f"{text!r} is not a date or time: use 2031-05-04T18:30, or 2h for two hours ago"
        )


INSTANT = Instant()
PAST = Instant(ago=True)
