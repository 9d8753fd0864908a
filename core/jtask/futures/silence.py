"""Waits that are not silent for ever: once in a while somebody says why a run has not ended."""

import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
SILENT_SECONDS = 10.0
"""How long somebody waits for a run before a reason why it has not ended is logged."""

MOST_ASKED = 5
"""Of handles that look for a reason within that time: where very many wait, a few speak for all."""

_asked: deque[float] = deque(maxlen=MOST_ASKED)  # when, by the monotonic clock


def may_ask() -> bool:
    """Tell whether one more may look for a reason now, and count it."""
    now = time.monotonic()
    if len(_asked) == MOST_ASKED and now - _asked[0] < SILENT_SECONDS:
        return False
    _asked.append(now)
    return True


def wait_aloud(
    wait: Callable[[float | None], T], deadline: float | None, tell_why: Callable[[], object]
) -> T:
    """Block, and say once why it takes long.

    Args:
        wait: Blocks for some seconds, or for as long as it takes.
        deadline: When the time is up, on the monotonic clock; None for never.
        tell_why: Called after `SILENT_SECONDS`.

    Raises:
        TimeoutError: By `wait`, in the end.
    """
    if deadline is None or deadline - time.monotonic() > SILENT_SECONDS:
        with contextlib.suppress(TimeoutError):
            return wait(SILENT_SECONDS)
        tell_why()
    return wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
