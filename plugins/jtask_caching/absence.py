"""The broker's absence, for direct calls: one finds it out, the others do without the cache."""

import contextlib
import math
import time
from collections.abc import Awaitable, Callable

from jtask.errors import JTaskError
from jtask.execution.hooks_loop import get_hooks_loop
from jtask.settings import Settings, get_settings

_PAUSE_SECONDS = 5.0


class Absence:
    """Whether the broker has not answered of late; it is asked in the background when it is back.

    Args:
        ask: Asks it for something small; raises an exception while it does not answer.
        connection: Gives this process's connection to it; None where there is none.
        pause: Seconds from one vain question to the next.
        clock: Gives the present instant in seconds.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[object]],
        connection: Callable[[], object | None],
        pause: float = _PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._connection = connection
        self._pause = pause
        self._clock = clock
        self._settings: Settings | None = None
        self._lost: object | None = None
        self._asks_at = math.inf

    def begin(self) -> None:
        """Note that the broker has not answered."""
        self._settings, self._lost = get_settings(), self._connection()
        self._asks_at = self._clock() + self._pause

    def end(self) -> None:
        """Note that nothing is known of the broker."""
        self._settings = self._lost = None

    def lasts(self) -> bool:
        """Tell whether the broker has not answered since; returns at once."""
        # Settings that were read anew may name another broker.
        if self._settings is not get_settings():
            return False
        # One that was made since: it has answered somebody else.
        if self._connection() not in (None, self._lost):
            self.end()
            return False
        if self._clock() >= self._asks_at:
            self._asks_at = math.inf
            with contextlib.suppress(RuntimeError):  # the process is ending
                get_hooks_loop().submit(self._look())
        return True

    async def _look(self) -> None:
        try:
            with contextlib.suppress(JTaskError):
                await self._ask()
                self.end()
        finally:
            # Whatever came of it: nobody else asks again.
            self._asks_at = self._clock() + self._pause
