"""Whether a thread had better be interrupted a moment later than just now."""

import functools
import sys
import time
from importlib.metadata import PackageNotFoundError, distribution
from types import CodeType, FrameType

from jtask.signal_safety import result_of

PATIENCE = 0.3
"""How long jtask's own code is spared, in seconds: less than a hard limit's grace."""

# What is raised in what Python calls when something is no more is printed and forgotten.
_FORGETFUL = frozenset({("weakref", "remove"), ("_weakrefset", "_remove")})
# Where a lock is taken by hand, or let go of, an exception would leave it taken for ever: that of a
# log's handler, say, for all threads of the process.
_LOCKING = frozenset(
    {("logging", name) for name in ("acquire", "_acquireLock", "release", "_releaseLock")}
    | {("threading", name) for name in ("__enter__", "__exit__", "_acquire_restore")}
)
# Modules whose code is executed for whoever calls it. What is logged is the task's doing, though
# jtask hears of it first.
_ANYBODYS = sys.stdlib_module_names - {"logging"}
# Here jtask waits for others, and is made to be interrupted.
_WAITS: frozenset[CodeType] = frozenset({result_of.__code__})


def is_right(frame: FrameType | None, latest: float, *, by_signal: bool) -> bool:
    """Tell whether to interrupt a thread where it is.

    jtask's own code puts up with that anywhere, as it does with Ctrl-C, but may have to begin anew,
    with another connection say: it is left alone unless it takes long.

    Args:
        frame: The innermost one of the thread.
        latest: Until when to spare jtask's own code, by `time.monotonic`.
        by_signal: Whether a signal interrupts it, which ends a wait for a lock too. An exception
            would come when the lock is taken.
    """
    if frame is None:
        return True
    is_late = time.monotonic() >= latest
    place = _module_of(frame), frame.f_code.co_name
    if place in _FORGETFUL or frame.f_code.co_name == "__del__":
        return False
    if place in _LOCKING:
        return is_late and by_signal
    return is_late or not _is_ours(frame)


def _is_ours(innermost: FrameType) -> bool:
    frame: FrameType | None = innermost
    while frame is not None:
        package = _module_of(frame).partition(".")[0]
        if package not in _ANYBODYS:
            return package in _own_packages() and frame.f_code not in _WAITS
        frame = frame.f_back
    return False


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


@functools.cache
def _own_packages() -> frozenset[str]:
    try:
        points = distribution("jtask").entry_points
    except PackageNotFoundError:  # it was copied, not installed
        return frozenset({"jtask"})
    return frozenset(point.module.partition(".")[0] for point in points)
