"""How far the server's clock is from ours, so that a delay lasts as long as it was meant to.

The server fires a delayed run by its own clock, and the worker that receives it waits for the exact
instant by a third one. On the server all instants are therefore by the server's clock; each process
translates its own.
"""

import math
import time
from collections.abc import Callable
from datetime import datetime

_TRUSTED = 0.25
"""Seconds; a smaller difference is not corrected. It cannot be told from the time that an answer is
on its way, and nobody's delay should depend on that."""


class ServerClock:
    """What is known of the difference between two clocks.

    Args:
        wall: Our clock, seconds since the epoch.

    Attributes:
        offset: What the server's clock is ahead of ours, in seconds.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._bounds = (-math.inf, math.inf)
        self.offset = 0.0

    def time(self) -> float:
        """Return the time by our clock."""
        return self._wall()

    def note(self, sent: float, told: str) -> None:
        """Learn from an answer that has just come.

        Args:
            sent: When the request was sent, by our clock.
            told: When the server answered, by its clock; RFC 3339, empty when it did not say.
        """
        if not told:
            return
        at, received = datetime.fromisoformat(told).timestamp(), self._wall()
        # It was answered in between. What was learnt before is true as well, unless one of the
        # clocks has been set since.
        new, old = (at - received, at - sent), self._bounds
        both = max(new[0], old[0]), min(new[1], old[1])
        self._bounds = low, high = both if both[0] <= both[1] else new
        # The smallest difference that explains all: equal clocks are never corrected, however long
        # an answer was on its way.
        offset = min(max(0.0, low), high)
        self.offset = offset if abs(offset) > _TRUSTED else 0.0

    def to_server(self, at: float) -> float:
        """Return an instant of ours by the server's clock."""
        return at + self.offset

    def to_ours(self, at: float) -> float:
        """Return an instant of the server's by our clock."""
        return at - self.offset
