"""The link to a cluster, made when it is first needed, and shared by the copies of a runner."""

import importlib
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from jtask.errors import ConfigurationError

T = TypeVar("T")


class Connection(Generic[T]):
    """Open something once.

    Args:
        open_it: Opens it.
        close_it: Closes what that has returned.
    """

    def __init__(self, open_it: Callable[[], T], close_it: Callable[[T], object]) -> None:
        self._open_it = open_it
        self._close_it = close_it
        self._lock = threading.Lock()
        self._opened: T | None = None

    def get(self) -> T:
        """Return it; opens it first if need be."""
        with self._lock:
            if self._opened is None:
                self._opened = self._open_it()
            return self._opened

    def close(self) -> None:
        """Close it if it is open; `get` opens it again."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            self._close_it(opened)


def imported(module: str, extra: str) -> Any:
    """Return a module of an optional package.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError(
            f"this task runner needs the package {module!r}, which cannot be imported: "
            f"pip install 'jtask[{extra}]'"
        ) from error
