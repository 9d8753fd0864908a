"""Who wants to know what happens to a connection."""

import logging
from collections.abc import Callable
from typing import Any

_log = logging.getLogger("jtask")


def call_all(callbacks: list[Callable[[], None]]) -> None:
    """Call each function, also after one that fails."""
    for callback in callbacks:
        try:
            callback()
        except Exception:
            # The others must be notified all the same.
            _log.exception("a callback of the NATS connection failed")


def call_once(callbacks: list[Callable[[], None]]) -> None:
    """Call each callback of a list for the last time."""
    for callback in callbacks:
        callback()
    callbacks.clear()


def forget(*kept: list[Any] | dict[Any, Any]) -> None:
    """Forget callbacks that are called no more: they would keep alive whose methods they are."""
    for callbacks in kept:
        callbacks.clear()
