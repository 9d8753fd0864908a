"""Refuse data folders and files that somebody else may have put there."""

import stat
from pathlib import Path

from jtask.errors import ConfigurationError
from jtask.file_owners import current_user, user_name

_ROOT = 0


def refuse_foreign(path: Path) -> None:
    """Refuse a file or folder that is a link or is not this user's; there may be none.

    Raises:
        ConfigurationError: It is one.
    """
    user = current_user()
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISLNK(status.st_mode):
        raise _refused(path, "is a link")
    if user is not None and status.st_uid != user:
        raise _refused(path, f"belongs to {user_name(status.st_uid)}, not to {user_name(user)}")


def refuse_foreign_links(path: Path) -> None:
    """Refuse a path that leads through a link which neither this user nor root has made.

    Raises:
        ConfigurationError: It does.
    """
    for folder in path.parents:
        owner = _link_owner(folder)
        if owner not in (None, _ROOT, current_user()):
            raise _refused(folder, f"is a link of {user_name(owner)}'s")


def _link_owner(path: Path) -> int | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_uid if stat.S_ISLNK(status.st_mode) else None


def _refused(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"the embedded server does not use {path}, which {reason}: "
        f"set JTASK_HOME to a folder of your own"
    )
