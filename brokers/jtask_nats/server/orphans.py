"""Servers that nobody finds any more: their data folder, or the lock in it, was deleted.

Such a server goes on, and so do the programs that are connected to it, while all others start a
second one. It is known by its open files, where the system lists those (Linux).
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROCESSES = Path("/proc")
_DELETED = " (deleted)"  # what Linux adds to the path of an open file


def find_orphans(config: Path, lock: Path) -> set[int]:
    """Return the processes of a data folder's servers whose lock was deleted.

    Args:
        config: The folder's configuration file.
        lock: The folder's lock.
    """
    started_with = ["-c", str(config)]
    deleted = f"{lock.resolve()}{_DELETED}"
    return {
        pid
        for pid, folder in _own_processes()
        if _arguments(folder) == started_with and deleted in _open_files(folder)
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


def _open_files(folder: Path) -> Iterator[str]:
    with suppress(OSError):
        for file in (folder / "fd").iterdir():
            with suppress(OSError):
                yield os.readlink(file)
