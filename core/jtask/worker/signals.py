"""SIGTERM and Ctrl-C for programs that run until told to stop."""

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals_to(tell: Callable[[int], object]) -> Generator[None]:
    """Call a function for each SIGTERM and SIGINT that comes inside the block.

    The calls are made in a thread of their own, because Python runs a signal handler only when the
    main thread comes round to it: a signal that arrives just before that blocks in a lock would go
    unnoticed until the next one. In any thread but the main one nothing is listened for.

    Args:
        tell: Takes the signal's number.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _restore
    reader, writer = os.pipe()
    # set_wakeup_fd wants it: a full pipe must not block the main thread in a signal handler.
    os.set_blocking(writer, False)
    threading.Thread(
        target=_pass_on, args=(reader, tell), name="jtask-signals", daemon=True
    ).start()
    # In this order: what comes to the new handlers is told by the pipe alone.
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, _noticed) for number in STOP_SIGNALS}

    def restore() -> None:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(writer)

    _restore = restore
    try:
        yield
    finally:
        _restore = None
        restore()


_restore: Callable[[], None] | None = None


def _hold_back() -> None:
    if _restore is not None:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def _go_on() -> None:
    if _restore is not None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _go_on_alone() -> None:
    global _restore
    if _restore is not None:
        restore, _restore = _restore, None
        restore()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


# A forked child has a life of its own, from its first moment on: what ends the child must neither
# be swallowed nor go through its parent's pipe.
os.register_at_fork(before=_hold_back, after_in_parent=_go_on, after_in_child=_go_on_alone)


def _noticed(_number: int, _frame: FrameType | None) -> None:
    """Keep the default action away; the number has gone through the pipe already."""


def _pass_on(reader: int, tell: Callable[[int], object]) -> None:
    while numbers := os.read(reader, 64):
        for number in numbers:
            if number in STOP_SIGNALS:
                tell(number)
    os.close(reader)
