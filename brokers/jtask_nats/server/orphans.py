"""Servers that nobody finds any more: their data folder was deleted, moved or unmounted.

Such a server goes on, and so do the programs that are connected to it, while all others start a
second one. It is known by what it was started with and by its open files, where the system tells
those (Linux).
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROCESSES = Path("/proc")
_SAME_PATHS = ("ns/mnt", "root")  # where these differ, a path names another file


def find_orphans(config: Path, lock: Path) -> set[int]:
    """Return the processes of a data folder's servers that do not have its lock.

    Args:
        config: The folder's configuration file.
        lock: The folder's lock.
    """
    started_with = ["-c", str(config)]
    return {
        pid
        for pid, folder in _own_processes()
        if _arguments(folder) == started_with
        and all(_is_same(folder / name, _PROCESSES / "self" / name) for name in _SAME_PATHS)
        and not _has_open(folder, lock)
    }


def end_orphans(pids: set[int]) -> None:
    """Ask servers to end; what they can still write, they write."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _own_processes() -> Iterator[tuple[int, Path]]:
    if not _PROCESSES.is_dir():
        return
    for folder in _PROCESSES.iterdir():
        # One may end while it is looked at, here and below.
        with suppress(OSError):
            if folder.name.isdecimal() and folder.stat().st_uid == os.geteuid():
                yield int(folder.name), folder


def _arguments(folder: Path) -> list[str]:
    try:
        return os.fsdecode((folder / "cmdline").read_bytes()).split("\0")[1:-1]
    except OSError:
        return []


def _has_open(folder: Path, file: Path) -> bool:
    try:
        files = list((folder / "fd").iterdir())
    except OSError:
        return True  # the system does not tell: leave it alone
    return any(_is_same(one, file) for one in files)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
