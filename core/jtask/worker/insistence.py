"""Repeat a write until the broker has taken it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from jtask.errors import BrokerError, MessageRefused
from jtask.rate_limited_log import RateLimitedLog

_RETRY_SECONDS = 0.5  # between two tries of a write, of which there is no last
_LOG_PAUSE = 5.0  # seconds between two lines about writes that are refused
_log = logging.getLogger("jtask.worker")

Insist = Callable[[Callable[[], Awaitable[Any]]], Awaitable[None]]
"""Repeats what it is given until the broker has taken it; raises MessageRefused when it never will.
"""


class Insistence:
    """Try again while the broker is away; what was executed is not thrown away."""

    def __init__(self) -> None:
        self._refused = RateLimitedLog(_LOG_PAUSE)

    async def __call__(self, act: Callable[[], Awaitable[Any]]) -> None:
        """Repeat until the broker has taken it.

        Raises:
            MessageRefused: It never will.
        """
        while True:
            try:
                await act()
                return
            except MessageRefused:
                raise
            except BrokerError as error:
                # By its kind: thousands of runs may wait for the same broker.
                if count := self._refused.count(type(error).__qualname__):
                    _log.warning(
                        "the broker did not accept a write, retrying: %s (%d since the last line)",
                        error,
                        count,
                    )
                await asyncio.sleep(_RETRY_SECONDS)
