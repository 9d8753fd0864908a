"""Who wants to know what happens to a connection."""

import logging
from collections.abc import Callable

_log = logging.getLogger("jtask")


def call_all(callbacks: list[Callable[[], None]]) -> None:
    """Call each function, also after one that fails."""
    for callback in callbacks:
        try:
            callback()
        except Exception:
            # The others must be notified all the same.
            _log.exception("a callback of the NATS connection failed")
