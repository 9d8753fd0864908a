"""The broker's share in the guard: a function that renews leases, opened in another process."""

import importlib
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from jtask.errors import ConfigurationError

Renew = Callable[[Sequence[str]], Awaitable[None] | None]
"""Renews the leases of some claims. It must not block; it may return an awaitable.

Called again and again while the worker is blocked, several times in a lease. A claim that is over
by now is no error. When it raises, or takes longer than a lease, the renewer is closed and opened
anew. Errors are `jtask.errors`, as everywhere in a broker.
"""

OpenRenewer = Callable[[Any], AbstractAsyncContextManager[Renew]]
"""Connects with the configuration that `LeaseGuard` was given; closes the connection at its end.

It needs a connect timeout of its own. After a failure it is called again, as long as the worker is
blocked.
"""


def name_of(open_renewer: OpenRenewer) -> str:
    """Return the `module:name` by which another process finds a function.

    Raises:
        ConfigurationError: There is none.
    """
    module = getattr(open_renewer, "__module__", "")
    name = getattr(open_renewer, "__qualname__", "")
    found = getattr(sys.modules.get(module), name, None)
    # Another process has a __main__ of its own.
    if found is not open_renewer or module == "__main__":
        raise ConfigurationError(
            f"a lease guard cannot import {open_renewer!r}: "
            "define it at the top level of a module that is not the program itself"
        )
    return f"{module}:{name}"


def load(renewer: str) -> OpenRenewer:
    """Import what `name_of` has named."""
    module, _, name = renewer.partition(":")
    return cast("OpenRenewer", getattr(importlib.import_module(module), name))
