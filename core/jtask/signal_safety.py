"""Locks and waits that no signal turns into a wait without an end.

Python calls a signal handler in the main thread, between two instructions of whatever executes
there. If that holds a lock which the handler wants too, both wait for ever. If it is about to block
in a lock, the handler is not called before the lock is released: Ctrl-C goes unnoticed until then.
"""

import concurrent.futures
import os
import threading
import time
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Self, TypeVar

from jtask.errors import JTaskError

if TYPE_CHECKING:

    class _RLock:
        """What `_thread.RLock` is, which the standard library's own stubs call final."""

        def acquire(self) -> bool: ...
        def release(self) -> None: ...
        def _is_owned(self) -> bool: ...
        def __enter__(self) -> bool: ...
        def __exit__(self, *error: object) -> None: ...
else:
    from _thread import RLock as _RLock

T = TypeVar("T")
_STEP_SECONDS = 0.25  # how long a signal goes unnoticed at most

# The brief locks that exist, so that a thread can be asked for those it holds.
_brief: "tuple[weakref.ref[SignalSafeLock], ...]" = ()
_brief_lock = threading.RLock()


class SignalSafeLock(_RLock):
    """A lock whose second use by one thread is an error instead of a deadlock.

    Use it as a context manager. Ctrl-C at any moment leaves it free: its `__exit__` is that of
    `RLock`, in C, where no signal handler is called before the lock is released.

    Args:
        is_brief: Whether it is held for a few instructions, and never while waiting for another
            thread.
    """

    __slots__ = ()

    def __new__(cls, *, is_brief: bool = True) -> Self:
        """Make a lock, and note it if it is a brief one."""
        global _brief
        lock = super().__new__(cls)
        if is_brief:
            with _brief_lock:
                _brief = (*(one for one in _brief if one() is not None), weakref.ref(lock))
        return lock

    def __enter__(self) -> bool:
        if self._is_owned():
            raise _interrupted()
        try:
            return self.acquire()
        except BaseException:  # by a handler that was called when it was taken
            if self._is_owned():
                self.release()
            raise

    @classmethod
    def refuse_holder(cls) -> None:
        """Raise an error in a thread that holds a brief lock."""
        for one in _brief:
            if (lock := one()) is not None and lock._is_owned():
                raise _interrupted()


def wait_steps(timeout: float | None) -> Iterator[float | None]:
    """Yield how long to block at once, until a wait is over: the main thread must wake up.

    Args:
        timeout: Seconds for the whole wait; None waits for ever.

    Returns:
        Iterator: Seconds; None, where no signal handler is called, for as long as it takes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield timeout
        return
    deadline = None if timeout is None else time.monotonic() + timeout
    while deadline is None or (left := deadline - time.monotonic()) > _STEP_SECONDS:
        yield _STEP_SECONDS
    yield max(left, 0.0)


def result_of(future: "concurrent.futures.Future[T]", timeout: float | None = None) -> T:
    """Do `future.result(timeout)`, and let a signal interrupt it whenever it comes.

    Args:
        future: What is waited for.
        timeout: Seconds; None waits for ever.

    Raises:
        TimeoutError: Not done in time.
        Exception: What the future has.
    """
    for seconds in wait_steps(timeout):
        try:
            return future.result(seconds)
        except TimeoutError:
            # It may be what the future has.
            if future.done():
                return future.result()
    raise TimeoutError


def refuse_in_interrupted_thread() -> None:
    """Return unless this is a signal handler that interrupted jtask where it holds a brief lock.

    For what waits for another thread, which may want that lock.

    Raises:
        JTaskError: It is.
    """
    SignalSafeLock.refuse_holder()


def _interrupted() -> JTaskError:
    return JTaskError(
        "a signal handler called jtask while it interrupted a call of jtask in the same thread: "
        "let the handler set a flag or wake a thread, and call jtask there"
    )


def _renew_lock_after_fork() -> None:
    global _brief_lock
    # Another thread of the parent may have held the old one, and does not exist here.
    _brief_lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock_after_fork)
