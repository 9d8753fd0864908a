"""The lock that keeps a data folder to one server.

nats-server itself would let two servers write one store. The lock is taken before the server is
started and inherited by it as an open file, so it is held exactly as long as the server lives,
however it ends, and whoever gets the lock knows that there is no server. It is taken after the
record of the new server is written: the record of a dead one is never believed. Until then, another
lock keeps others from starting a server too.

To port this to a platform without flock, replace the three functions.
"""

import os
from pathlib import Path

from jtask.errors import ConfigurationError

_taken: set[int] = set()


def take_lock(path: Path) -> int | None:
    """Take the lock of a data folder, without waiting.

    Returns:
        int | None: An open file to pass to the server; None when the lock is held.

    Raises:
        ConfigurationError: The platform has no such locks.
    """
    try:
        import fcntl
    except ImportError:
        raise ConfigurationError(
            "the embedded server is not available on this platform: "
            "set JTASK_URL to a nats-server, for example nats://127.0.0.1:4222"
        ) from None
    # CLOEXEC: only the server may inherit it, by pass_fds, and no other child of this process.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return _locked(os.open(path, flags, 0o600), fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(path: Path) -> bool:
    """Tell whether somebody has the lock of a data folder; nothing is created there."""
    if not path.exists():
        return False
    import fcntl

    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    # Shared: who only looks must not make others who look believe that there is a server.
    lock = _locked(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    if lock is None:
        return True
    release_lock(lock)
    return False


def release_lock(lock: int) -> None:
    """Give up this process's hold; a server that inherited the lock keeps it."""
    _taken.discard(lock)
    os.close(lock)


def _locked(file: int, operation: int) -> int | None:
    import fcntl

    try:
        fcntl.flock(file, operation)
    except BlockingIOError:
        os.close(file)
        return None
    except BaseException:
        os.close(file)
        raise
    _taken.add(file)
    return file


def _drop_in_forked_child() -> None:
    # A process forked while another thread starts the server would hold the lock past its end.
    while _taken:
        os.close(_taken.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_in_forked_child)
