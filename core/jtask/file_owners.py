"""Whose a file is, in words. Where files have no owners, such as on Windows, nobody's."""

import os
from pathlib import Path


def current_user() -> int | None:
    """Return the user whose rights this process has."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def user_name(user: int) -> str:
    """Return a user's name, or the number of one that has none."""
    import pwd

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def owners_of(path: Path) -> set[int]:
    """Return who decides what is found under a path: the owner of the file, and of the link to it.

    Raises:
        OSError: There is none.
    """
    return {path.lstat().st_uid, path.stat().st_uid}
