"""Interrupt the main thread by a signal, which also ends a call that waits, such as `time.sleep`.

Other threads get no signals from Python; see `threads`.
"""

import signal
import threading
from collections import deque
from types import FrameType

from jtask_timeouts.deadlines import TimedSteps

# By default it is ignored: one that comes after a user has taken the handler away harms nobody.
_SIGNAL = signal.SIGURG
_wanted: deque[tuple[TimedSteps, type[BaseException]]] = deque()


def takes_signals() -> bool:
    """Tell whether the calling thread is the main one and free for this; prepare it then."""
    if threading.current_thread() is not threading.main_thread():
        return False
    # Asked anew for each run: a program may set a handler of its own at any time, and keeps it.
    if signal.getsignal(_SIGNAL) is signal.SIG_DFL:
        signal.signal(_SIGNAL, _raise)
    return signal.getsignal(_SIGNAL) is _raise


def interrupt_main(schedule: TimedSteps, kind: type[BaseException]) -> None:
    """Raise an exception in the main thread, unless the schedule is over by then.

    Called in any other thread.
    """
    # Before the signal, whose handler takes it from there.
    _wanted.append((schedule, kind))
    ident = threading.main_thread().ident
    if ident is not None:
        signal.pthread_kill(ident, _SIGNAL)


def _raise(_number: int, _frame: FrameType | None) -> None:
    while _wanted:
        schedule, kind = _wanted.popleft()
        if not schedule.over:
            if _wanted:
                # Several signals may arrive as one.
                signal.raise_signal(_SIGNAL)
            raise kind
