"""A lock that a signal handler does not wait for in vain.

Python calls a signal handler in the main thread, between two instructions of whatever executes
there. If that holds a lock which the handler wants too, both wait for ever.
"""

import os
import threading

from jtask.errors import JTaskError

# Which threads hold a brief lock. Only the thread itself adds and removes its number.
_holders: set[int] = set()


class SignalSafeLock:
    """A lock whose second use by one thread is an error instead of a deadlock.

    Use it as a context manager.

    Args:
        is_brief: Whether it is held for a few instructions, and never while waiting for another
            thread.
    """

    __slots__ = ("_is_brief", "_is_held", "_is_inner", "_lock")

    def __init__(self, *, is_brief: bool = True) -> None:
        self._is_brief = is_brief
        # Taken and marked with its thread in one step, which no signal can come between.
        self._lock = threading.RLock()
        self._is_held = False
        self._is_inner = False  # the thread held another one already

    def __enter__(self) -> None:
        is_inner = (me := threading.get_ident()) in _holders
        if self._is_brief:
            # Before it is taken: a handler that comes in between would wait for a thread which
            # waits for the lock.
            _holders.add(me)
        self._lock.acquire()
        if self._is_held:
            self._lock.release()
            raise _interrupted()
        self._is_held = True
        self._is_inner = is_inner

    def __exit__(self, *_: object) -> None:
        is_outermost = self._is_brief and not self._is_inner
        self._is_held = False
        self._lock.release()
        if is_outermost:
            _holders.discard(threading.get_ident())


def refuse_in_interrupted_thread() -> None:
    """Return unless this is a signal handler that interrupted jtask where it holds a brief lock.

    For what waits for another thread, which may want that lock.

    Raises:
        JTaskError: It is.
    """
    if _holders and threading.get_ident() in _holders:
        raise _interrupted()


def _interrupted() -> JTaskError:
    return JTaskError(
        "a signal handler called jtask while it interrupted a call of jtask in the same thread: "
        "let the handler set a flag or wake a thread, and call jtask there"
    )


os.register_at_fork(after_in_child=_holders.clear)
