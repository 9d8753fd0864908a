"""Refuse to start where a library has replaced the threads of Python."""

import sys
from collections.abc import Callable
from typing import cast

from jtask.errors import ConfigurationError

# Where each library says what it has replaced: module, function, and its word for threads.
_PATCHERS = (
    ("gevent", "gevent.monkey", "is_module_patched", "threading"),
    ("eventlet", "eventlet.patcher", "is_monkey_patched", "thread"),
)


def require_real_threads() -> None:
    """Return if threads are those of the operating system.

    gevent and eventlet make greenlets of them, which take turns in one thread. One that waits for
    jtask's event loop would keep that from its turn: everybody would wait for ever.

    Raises:
        ConfigurationError: They are not; it names the library and the way out.
    """
    for library, module, function, threads in _PATCHERS:
        # Only if it was imported: what is not there has replaced nothing.
        is_patched = getattr(sys.modules.get(module), function, None)
        if is_patched is not None and cast("Callable[[str], bool]", is_patched)(threads):
            raise ConfigurationError(
                f"{library} has replaced the threads of this process, and jtask needs real ones: "
                f"leave out {library}'s monkey patching here; with gunicorn, use `-k gthread` "
                f"instead of `-k {library}`"
            )
