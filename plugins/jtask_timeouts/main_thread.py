"""Interrupt the main thread by a signal, which also ends a call that waits, such as `time.sleep`.

Other threads get no signals from Python; see `threads`.
"""

import signal
import threading
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple

from jtask_timeouts.deadlines import TimedSteps
from jtask_timeouts.moments import is_right

# By default it is ignored: one that comes after a user has taken the handler away harms nobody.
_SIGNAL = signal.SIGURG


class Interruption(NamedTuple):
    """An exception for the main thread.

    Attributes:
        schedule: Once that is over it is not raised.
        kind: The exception.
        latest: Until when it may be held back, by `time.monotonic`.
        postpone: Has it come again soon; called in a signal handler.
    """

    schedule: TimedSteps
    kind: type[BaseException]
    latest: float
    postpone: Callable[[], None]


_wanted: deque[Interruption] = deque()


def takes_signals() -> bool:
    """Tell whether the calling thread is the main one and free for this; prepare it then."""
    if threading.current_thread() is not threading.main_thread():
        return False
    # Asked anew for each run: a program may set a handler of its own at any time, and keeps it.
    if signal.getsignal(_SIGNAL) is signal.SIG_DFL:
        signal.signal(_SIGNAL, _raise)
    return signal.getsignal(_SIGNAL) is _raise


def interrupt_main(interruption: Interruption) -> None:
    """Raise an exception in the main thread; called in any other thread."""
    # Before the signal, whose handler takes it from there.
    _wanted.append(interruption)
    ident = threading.main_thread().ident
    if ident is not None:
        signal.pthread_kill(ident, _SIGNAL)


def _raise(_number: int, frame: FrameType | None) -> None:
    while _wanted:
        schedule, kind, latest, postpone = _wanted.popleft()
        if schedule.over:
            continue
        if not is_right(frame, latest, by_signal=True):
            postpone()
        else:
            if _wanted:
                # Several signals may arrive as one.
                signal.raise_signal(_SIGNAL)
            raise kind
